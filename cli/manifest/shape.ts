import { nearest } from '@nsm/sdk/process/nearest.js'

/** What is wrong with one field: its path as `spec.containers[0].env`, and a sentence in lower case. */
export interface Fault {
  readonly path: string
  readonly message: string
}

/** Says what is wrong with a value found at `path`; nothing = it fits. */
export type Rule = (value: unknown, path: string) => readonly Fault[]

/** Takes any value: a field without effect in the local mesh. */
export const harmless: Rule = () => []

/** A string that is not empty, in the form of `pattern`, which `form` describes. */
export function text(pattern?: RegExp, form = 'a text'): Rule {
  return (value, path) => {
    if (typeof value !== 'string') return fault(path, `must be ${form}, not ${shown(value)}`)
    if (value.includes('\0')) return fault(path, 'must not hold a zero byte')
    return pattern === undefined || pattern.test(value)
      ? []
      : fault(path, `must be ${form}, not ${shown(value)}`)
  }
}

export function integer(min: number, max: number): Rule {
  return (value, path) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? []
      : fault(path, `must be a whole number from ${min} to ${max}, not ${shown(value)}`)
}

export const truth: Rule = (value, path) =>
  typeof value === 'boolean' ? [] : fault(path, `must be true or false, not ${shown(value)}`)

/** One of a few values; anything else is said to be unsupported. */
export function oneOf(...allowed: readonly unknown[]): Rule {
  return (value, path) =>
    allowed.includes(value)
      ? []
      : fault(path, `must be ${allowed.map(shown).join(' or ')} in the local mesh, not ${shown(value)}`)
}

export function listOf(rule: Rule, min = 0): Rule {
  return (value, path) => {
    if (!Array.isArray(value)) return fault(path, `must be a list, not ${shown(value)}`)
    if (value.length < min) return fault(path, 'must not be empty')
    if (value.length > maxItems)
      return fault(path, `must have at most ${maxItems} items, not ${value.length}`)
    return value.flatMap((item: unknown, i) => rule(item, `${path}[${i}]`))
  }
}

/** A map from any key to values of one kind. */
export function mapOf(rule: Rule): Rule {
  return (value, path) =>
    isObject(value)
      ? Object.entries(value).flatMap(([name, item]) => rule(item, `${path}.${name}`))
      : fault(path, `must be a map, not ${shown(value)}`)
}

/** The field exists in Kubernetes and would change what happens, which the local mesh can't do. */
export function unsupported(advice = 'remove it, or run this on Kubernetes'): Rule {
  return (_value, path) => fault(path, `is not supported by the local mesh: ${advice}`)
}

export type Fields = Readonly<Record<string, Rule>>

/** An object with these fields and no others; `null` stands for absent, as in Kubernetes. */
export function object(fields: Fields, required: readonly string[] = []): Rule {
  return (value, path) => {
    if (!isObject(value)) return fault(path, `must be a map of fields, not ${shown(value)}`)
    const missing = required
      .filter((name) => value[name] === undefined || value[name] === null)
      .flatMap((name) => fault(join(path, name), 'is required'))
    const present = Object.entries(value).filter(([, item]) => item !== null)
    return [...missing, ...present.flatMap(([name, item]) => field(fields, name, item, path))]
  }
}

/** Two rules for one value: the faults of both. */
export function both(first: Rule, second: Rule): Rule {
  return (value, path) => {
    const faults = first(value, path)
    return faults.length > 0 ? faults : second(value, path)
  }
}

export function fault(path: string, message: string): readonly Fault[] {
  return [{ path, message }]
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const maxItems = 1_000

function field(fields: Fields, name: string, value: unknown, path: string): readonly Fault[] {
  const rule = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (rule !== undefined) return rule(value, join(path, name))
  const guess = nearest(name, Object.keys(fields))
  const hint = guess === undefined ? '' : `; did you mean ${guess}?`
  return fault(join(path, name), `is not a field that the local mesh knows${hint}`)
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (isObject(value)) return 'a map'
  const written = JSON.stringify(value) ?? 'nothing'
  return written.length > 60 ? `${written.slice(0, 57)}…` : written
}
