import { age } from './age.ts'

/** One line of a description: its name and its value, or the lines below it. Without a value it is left out. */
export type Line = readonly [name: string, value: string]

/** Names and values one below the other, the values aligned. */
export function lines(all: readonly Line[], indent = ''): string {
  const shown = all.filter(([, value]) => value !== '')
  const width = Math.max(0, ...shown.map(([name]) => name.length + 1))
  return shown.map(([name, value]) => `${indent}${`${name}:`.padEnd(width)}  ${value}\n`).join('')
}

/** A block of text, moved to the right. */
export function indented(text: string, by: string): string {
  return text.replaceAll(/^(?=.)/gm, by)
}

/** `app=postgres,role=replica`; a dash when there is none. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  return pairs.length === 0 ? '-' : pairs.join(',')
}

/** `3m ago`, `in 9m`. */
export function when(ms: number | undefined, nowMs: number): string {
  if (ms === undefined) return ''
  return ms > nowMs ? `in ${age(ms - nowMs)}` : `${age(nowMs - ms)} ago`
}
