// Prints "N passed, M failed" for the assertions of a TAP file. A second file, if it is there, holds the files that failed in the
// first and were run again: its verdict on them counts.
import { readFile } from 'node:fs/promises'

const [first, again] = await Promise.all(process.argv.slice(2).map(read))
const counted = again ?? first
const { failed, skipped } = counted
const passed = first.passed + (again?.passed ?? 0)
for (const failure of [...first.details, ...(again?.details ?? [])].slice(0, 12)) console.log(failure)
for (const line of first.lines) console.log(again === undefined ? line : `at first: ${line}`)
for (const line of again?.lines ?? []) console.log(line)
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

/** undefined when there is no such file. */
async function read(file) {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const totals = text.match(/^# \{ total: \d+.*\}$/gm)?.at(-1) ?? ''
  const count = (name) => Number(totals.match(new RegExp(`${name}: (\\d+)`))?.[1] ?? 0)
  const lines = text.match(/^not ok .*$/gm) ?? []
  // A failed assertion with its diagnostics, which the terse reporter leaves out where there is no terminal.
  const details = text.match(/^ +not ok .*\n(?: +---\n(?:.*\n){0,30})?/gm) ?? []
  return {
    passed: count('pass'),
    failed: Math.max(count('fail'), lines.length),
    skipped: count('skip') + count('todo'),
    lines,
    details,
  }
}
