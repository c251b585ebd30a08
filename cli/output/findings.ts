import type { Section } from '../check/check.ts'
import { count, type Finding, type Level } from '../check/finding.ts'
import type { Terminal } from './terminal.ts'

const marks: Readonly<Record<Level, readonly [string, 'green' | 'yellow' | 'red']>> = {
  ok: ['✓', 'green'],
  warning: ['!', 'yellow'],
  fault: ['✗', 'red'],
}

/** A section of a check: its title, a line for each finding, and what to do below those that need something. */
export function sectionText({ title, findings }: Section, terminal: Pick<Terminal, 'paint'>): string {
  const lines = findings.map(({ level, text, hint }) => {
    const [mark, colour] = marks[level]
    return `  ${terminal.paint(mark, colour)} ${text}\n${hint === '' ? '' : `      → ${hint}\n`}`
  })
  return `${terminal.paint(title, 'bold')}\n${lines.join('')}\n`
}

/** What all findings come to. */
export function verdict(findings: readonly Finding[], terminal: Pick<Terminal, 'paint'>): string {
  const faults = findings.filter(({ level }) => level === 'fault').length
  const warnings = findings.filter(({ level }) => level === 'warning').length
  const worthALook = warnings === 0 ? '' : `${count(warnings, 'thing')} worth a look`
  if (faults > 0) {
    const sentence = `${count(faults, 'fault')}${warnings === 0 ? '' : `, ${worthALook}`}`
    return `${terminal.paint('✗', 'red')} ${sentence}\n`
  }
  return warnings > 0
    ? `${terminal.paint('!', 'yellow')} no faults, ${worthALook}\n`
    : `${terminal.paint('✓', 'green')} everything is as it should be\n`
}
