import * as v from 'valibot'

/** One environment variable: how its text is read and what it is for. */
export interface Variable<T> {
  readonly name: string
  /** For people: `duration`, `list`, … */
  readonly kind: string
  /** Text that counts when the variable is unset; undefined = required, or optional when `optional`. */
  readonly fallback: string | undefined
  readonly optional: boolean
  /** Lists and maps: an empty text means none. Elsewhere it means unset. */
  readonly emptyIsValue: boolean
  readonly meaning: string
  /** Issues read as "must be …". */
  readonly schema: v.GenericSchema<string, T>
}

/** Logging levels of `NSM_LOG_LEVEL`, in lower case. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'

/**
 * A variable of a kind of its own. `read` answers the value or throws an error whose message begins with "must …";
 * `fallback` undefined makes the variable required, here and in all functions below.
 */
export function custom<T>(
  kind: string,
  read: (text: string) => T,
  [name, fallback, meaning]: readonly [string, string | undefined, string],
): Variable<T> {
  const schema = v.pipe(
    v.string(),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      try {
        return read(dataset.value)
      } catch (err) {
        addIssue({ message: err instanceof Error ? err.message : String(err) })
        return NEVER
      }
    }),
  )
  return { name, kind, fallback, optional: false, emptyIsValue: false, meaning, schema }
}

/** The same variable, undefined when unset. */
export function optional<T>(variable: Variable<T>): Variable<T | undefined> {
  return { ...variable, optional: true, fallback: undefined }
}

export function text(name: string, fallback: string | undefined, meaning: string): Variable<string> {
  return custom('text', (value) => value, [name, fallback, meaning])
}

/** `true`/`false` in the forms of Go's strconv.ParseBool. */
export function boolean(name: string, fallback: string | undefined, meaning: string): Variable<boolean> {
  return custom('boolean', readBoolean, [name, fallback, meaning])
}

/** A Go duration, as milliseconds; fractions allowed, never negative. */
export function duration(name: string, fallback: string | undefined, meaning: string): Variable<number> {
  return custom('duration', readDuration, [name, fallback, meaning])
}

/** A Go duration that may be negative, as milliseconds. */
export function signedDuration(
  name: string,
  fallback: string | undefined,
  meaning: string,
): Variable<number> {
  const read = (value: string): number =>
    /^-[\d.]/.test(value) ? -readDuration(value.slice(1)) : readDuration(value)
  return custom('duration', read, [name, fallback, meaning])
}

/** A whole number within bounds. */
export function integer(
  name: string,
  fallback: string | undefined,
  meaning: string,
  [min, max]: readonly [number, number] = [0, Number.MAX_SAFE_INTEGER],
): Variable<number> {
  const read = (value: string): number => {
    const number = Number(value)
    if (/^-?\d{1,16}$/.test(value) && number >= min && number <= max) return number
    throw new Error(`must be a whole number from ${min} to ${max}`)
  }
  return custom('integer', read, [name, fallback, meaning])
}

/** One of the given words, in any case. */
export function choice<const T extends string>(
  name: string,
  fallback: NoInfer<T> | undefined,
  meaning: string,
  options: readonly T[],
): Variable<T> {
  const read = (value: string): T => {
    const found = options.find((option) => option.toLowerCase() === value.toLowerCase())
    if (found === undefined) throw new Error(`must be one of ${options.join(', ')}`)
    return found
  }
  return custom(options.join(' | '), read, [name, fallback, meaning])
}

/** `a,b,c`; empty items are refused. */
export function list(
  name: string,
  fallback: string | undefined,
  meaning: string,
): Variable<readonly string[]> {
  return { ...custom('list', readList, [name, fallback, meaning]), emptyIsValue: true }
}

/** `key:value,key2:value2`. */
export function map(
  name: string,
  fallback: string | undefined,
  meaning: string,
): Variable<Readonly<Record<string, string>>> {
  return { ...custom('map', readMap, [name, fallback, meaning]), emptyIsValue: true }
}

/** `unix:///path`, `tcp://host:port`, or `host:port`, which is read as tcp. */
export function url(name: string, fallback: string | undefined, meaning: string): Variable<string> {
  return custom('URL', readUrl, [name, fallback, meaning])
}

/** Comma-separated URLs. */
export function urls(
  name: string,
  fallback: string | undefined,
  meaning: string,
): Variable<readonly string[]> {
  const read = (value: string): readonly string[] => readList(value).map(readUrl)
  return { ...custom('list of URLs', read, [name, fallback, meaning]), emptyIsValue: true }
}

export function logLevel(name: string, fallback: string, meaning: string): Variable<LogLevel> {
  const names = new Map<string, LogLevel>([
    ...(['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const).map(
      (level) => [level, level] as const,
    ),
    ['warning', 'warn'],
    ['panic', 'fatal'],
  ])
  const read = (value: string): LogLevel => {
    const level = names.get(value.toLowerCase())
    if (level === undefined) throw new Error('must be one of TRACE, DEBUG, INFO, WARN, ERROR, FATAL')
    return level
  }
  return custom('log level', read, [name, fallback, meaning])
}

function readBoolean(value: string): boolean {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(value)) return true
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(value)) return false
  throw new Error('must be true or false')
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
}
/** Go's longest: 2⁶³ nanoseconds. */
const longestMs = 2 ** 63 / 1e6

function readDuration(value: string): number {
  const fault = 'must be a duration such as 750ms, 15s or 1h30m'
  if (/^\+?0$/.test(value)) return 0
  if (value.length > 64 || !/^\+?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(value)) {
    throw new Error(fault)
  }
  let ms = 0
  for (const [, number, unit] of value.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    ms += Number(number) * (unitMs[unit ?? ''] ?? 0)
  }
  if (ms >= longestMs) throw new Error(fault)
  return ms
}

function readList(value: string): readonly string[] {
  if (value.trim() === '') return []
  const items = value.split(',').map((item) => item.trim())
  if (items.includes('')) throw new Error('must be a comma-separated list without empty items')
  return items
}

function readMap(value: string): Readonly<Record<string, string>> {
  const pairs = readList(value).map((item): [string, string] => {
    const colon = item.indexOf(':')
    if (colon < 1) throw new Error('must be a map such as key:value,key2:value2')
    return [item.slice(0, colon), item.slice(colon + 1)]
  })
  if (new Set(pairs.map(([key]) => key)).size < pairs.length) throw new Error('must not name a key twice')
  return Object.fromEntries(pairs)
}

function readUrl(value: string): string {
  const fault = 'must be unix:///path or tcp://host:port'
  if (/^unix:\/\/\/[^\0?#]+$/.test(value)) return value
  const [, authority] = /^(?:tcp:\/\/)?([^/]+)$/.exec(value) ?? []
  const [, port] = /^(?:\[[0-9a-fA-F:.]+(?:%[\w.-]+)?\]|[\w.-]*):(\d{1,5})$/.exec(authority ?? '') ?? []
  if (port === undefined || Number(port) > 65_535) throw new Error(fault)
  return `tcp://${authority}`
}
