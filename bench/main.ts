import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { controlPlane } from './control-plane.ts'
import { dns } from './dns.ts'
import { isMissed, type Figure, type Section } from './figure.ts'
import { pods } from './pods.ts'
import { stack } from './stack.ts'
import { webhook } from './webhook.ts'
import { wiring } from './wiring.ts'

/** Measures all sections that need nothing but this machine, or those named; prints a table and writes build/bench.json. Exits with 0 also when a target is missed. */
const sections: Readonly<Record<string, Section>> = {
  'control-plane': controlPlane,
  wiring,
  stack,
  dns,
  webhook,
  pods,
}
/** Needs a cluster: measured only when it is named. */
const onRequest = new Set(['pods'])

const { values, positionals } = parseArgs({ options: { quick: { type: 'boolean' } }, allowPositionals: true })
const quick = values.quick === true
const report: Record<string, readonly Figure[]> = {}
for (const [name, section] of Object.entries(sections)) {
  if (positionals.length > 0 ? !positionals.includes(name) : onRequest.has(name)) continue
  console.log(`\n${name}`)
  const figures = await section({ quick })
  report[name] = figures
  const width = Math.max(...figures.map(({ what }) => what.length))
  for (const figure of figures) console.log(`  ${line(figure, width)}`)
}
const machine = { node: process.version, cpus: cpus().length, model: cpus()[0]?.model }
const file = fileURLToPath(new URL('../../build/bench.json', import.meta.url))
await writeFile(file, `${JSON.stringify({ machine, quick, sections: report }, undefined, 2)}\n`)
console.log(`\nwritten to ${file}`)
process.exit(0)

function line(figure: Figure, width: number): string {
  const { what, value, unit, target, spread } = figure
  const between = spread === undefined ? '' : `  (${text(spread[0])} … ${text(spread[1])})`
  const bound = target === undefined ? '' : 'atMost' in target ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`
  const verdict = target === undefined ? '' : `  target ${bound}${isMissed(figure) ? '  missed' : ''}`
  return `${what.padEnd(width)}  ${text(value).padStart(9)} ${unit}${between}${verdict}`
}

function text(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
