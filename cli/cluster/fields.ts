import { isObject } from '../manifest/shape.ts'

/** Steps into JSON that others wrote: names of fields and places in lists. */
type Path = readonly (string | number)[]

/** What lies there; undefined when a step leads nowhere. */
export function at(value: unknown, ...path: Path): unknown {
  let found = value
  for (const step of path) {
    if (typeof step === 'number') found = Array.isArray(found) ? (found as unknown[])[step] : undefined
    else found = isObject(found) && Object.hasOwn(found, step) ? found[step] : undefined
  }
  return found
}

/** The text there; empty when there is none. */
export function textAt(value: unknown, ...path: Path): string {
  const found = at(value, ...path)
  return typeof found === 'string' ? found : ''
}

/** The number there; 0 when there is none. */
export function numberAt(value: unknown, ...path: Path): number {
  const found = at(value, ...path)
  return typeof found === 'number' ? found : 0
}

/** The list there; empty when there is none. */
export function listAt(value: unknown, ...path: Path): readonly unknown[] {
  const found = at(value, ...path)
  return Array.isArray(found) ? found : []
}

/** The map of texts there, without what isn't text. */
export function textsAt(value: unknown, ...path: Path): Readonly<Record<string, string>> {
  const found = at(value, ...path)
  const entries = isObject(found) ? Object.entries(found) : []
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}

/** Milliseconds since 1970 of the ISO 8601 time there; undefined when there is none. */
export function timeAt(value: unknown, ...path: Path): number | undefined {
  const found = Date.parse(textAt(value, ...path))
  return Number.isNaN(found) ? undefined : found
}
