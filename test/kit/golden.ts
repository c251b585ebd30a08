import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Test } from 'tap'

/** Compares a text with the file of that name; `UPDATE_GOLDEN=1` writes it instead. */
export function matchesGolden(t: Test, file: URL, text: string): void {
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text)
  t.equal(text, existsSync(file) ? readFileSync(file, 'utf8') : 'there is no such file', file.pathname)
}
