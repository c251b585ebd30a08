// Prints "N passed, M failed" for a TAP file: the assertions of all test files.
import { readFile } from 'node:fs/promises'

const text = await readFile(process.argv[2], 'utf8')
const totals = text.match(/^# \{ total: \d+.*\}$/gm)?.at(-1) ?? ''
const count = (name) => Number(totals.match(new RegExp(`${name}: (\\d+)`))?.[1] ?? 0)
const failed = text.match(/^not ok .*$/gm) ?? []
for (const line of failed) console.log(line)
const passed = count('pass')
const lost = Math.max(count('fail'), failed.length)
const skipped = count('skip') + count('todo')
console.log(`${passed} passed, ${lost} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = lost > 0 || passed === 0 ? 1 : 0
