import { NsmError } from '@nsm/sdk/errors.js'

/** Decoded JSON of an object, with any keys. */
export type Fields = Readonly<Record<string, unknown>>

/*
 * Each reads one field as Go's encoding/json would fill it: absent and null are the empty value, anything of another
 * type is refused with NsmError INVALID_ARGUMENT that names the field.
 */

export function text(value: unknown, at: string): string {
  if (value === undefined || value === null) return ''
  return typeof value === 'string' ? value : wrong(at, 'a text', value)
}

export function flag(value: unknown, at: string): boolean {
  if (value === undefined || value === null) return false
  return typeof value === 'boolean' ? value : wrong(at, 'true or false', value)
}

/** A whole number within bounds. */
export function whole(value: unknown, at: string, [min, max]: readonly [number, number]): number {
  if (value === undefined || value === null) return 0
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  return wrong(at, `a whole number from ${min} to ${max}`, value)
}

export function list<T>(value: unknown, at: string, read: (value: unknown, at: string) => T): T[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) return wrong(at, 'a list', value)
  return value.map((one: unknown, i) => read(one, `${at}[${i}]`))
}

export function map<T>(
  value: unknown,
  at: string,
  read: (value: unknown, at: string) => T,
): Record<string, T> {
  return Object.fromEntries(
    Object.entries(fields(value, at)).map(([key, one]) => [key, read(one, `${at}.${key}`)]),
  )
}

export function fields(value: unknown, at: string): Fields {
  if (value === undefined || value === null) return {}
  if (typeof value === 'object' && !Array.isArray(value)) return value as Fields
  return wrong(at, 'an object', value)
}

/** Of `{seconds, nanos}`; to the millisecond. */
export function timestamp(value: unknown, at: string): Date | undefined {
  if (value === undefined || value === null) return undefined
  const { seconds, nanos } = fields(value, at) as { seconds?: unknown; nanos?: unknown }
  const ms =
    whole(seconds, `${at}.seconds`, [-maxSeconds, maxSeconds]) * 1000 +
    Math.floor(whole(nanos, `${at}.nanos`, [0, 999_999_999]) / 1e6)
  return new Date(Math.min(ms, maxSeconds * 1000))
}

/** Of a Date. */
const maxSeconds = 8_640_000_000_000

function wrong(at: string, what: string, value: unknown): never {
  const shown = JSON.stringify(value)
  throw new NsmError(
    'INVALID_ARGUMENT',
    `${at} must be ${what}, not ${shown.length > 80 ? `${shown.slice(0, 80)}…` : shown}`,
  )
}
