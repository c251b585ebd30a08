import * as v from 'valibot'
import { NsmError } from '../errors.ts'
import { nearest } from './nearest.ts'
import type { Variable } from './variables.ts'

/** The environment as a process is given it. */
export type Env = Readonly<Record<string, string | undefined>>

/** One variable per field of a configuration. */
export type Variables<C> = { readonly [K in keyof C]-?: Variable<C[K]> }

/** A variable as help and reference show it. */
export interface Described {
  readonly name: string
  readonly kind: string
  /** undefined = there is none. */
  readonly fallback: string | undefined
  readonly required: boolean
  readonly meaning: string
}

/** All variables of one process: read, checked and explained from the same definition. */
export interface ConfigSchema<C> {
  /** @throws NsmError INVALID_ARGUMENT that names every fault at once: variable, value and what would be right. */
  parse(env: Env): C
  /** One sentence for each `NSM_` variable that is set and means nothing here. */
  warnings(env: Env): readonly string[]
  /** The text of `--help`. */
  help(app: string): string
  describe(): readonly Described[]
}

/**
 * Variables that other implementations of the same contract read and this one does not, by name, with the reason;
 * setting one is answered by a warning instead of silence.
 */
export type Unsupported = Readonly<Record<string, string>>

/** Makes the schema of a process' configuration from its variables. */
export function defineConfig<C>(variables: Variables<C>, unsupported: Unsupported = {}): ConfigSchema<C> {
  const entries = Object.entries<Variable<unknown>>(variables)
  const known = new Set([...entries.map(([, { name }]) => name), 'NSM_NATIVE_ADDON'])
  return {
    parse(env) {
      const read = entries.map(([field, variable]) => [field, readVariable(variable, env)] as const)
      const faults = read.flatMap(([, { fault }]) => fault ?? [])
      if (faults.length > 0) throw new NsmError('INVALID_ARGUMENT', `config: ${faults.join('; ')}`)
      return Object.fromEntries(read.map(([field, { value }]) => [field, value])) as C
    },
    warnings: (env) =>
      Object.keys(env)
        .filter((name) => env[name] !== undefined && !known.has(name) && !isServiceLink(name))
        .flatMap((name) => warningFor(name, known, unsupported) ?? []),
    help: (app) =>
      helpText(
        app,
        entries.map(([, variable]) => describe(variable)),
      ),
    describe: () => entries.map(([, variable]) => describe(variable)),
  }
}

function readVariable(variable: Variable<unknown>, env: Env): { value?: unknown; fault?: string } {
  const given = env[variable.name]
  const unset = given === undefined || (given.trim() === '' && !variable.emptyIsValue)
  const text = unset ? variable.fallback : given.trim()
  if (text === undefined) {
    return variable.optional
      ? { value: undefined }
      : { fault: `${variable.name} is required: ${variable.meaning}` }
  }
  const result = v.safeParse(variable.schema, text)
  if (result.success) return { value: result.output }
  return { fault: `${variable.name} ${result.issues[0].message}, not ${quoted(text)}` }
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text)
}

function warningFor(name: string, known: ReadonlySet<string>, unsupported: Unsupported): string | undefined {
  if (Object.hasOwn(unsupported, name)) return `${name} has no effect: ${unsupported[name]}`
  if (!name.startsWith('NSM_')) return undefined
  const hint = nearest(name, known)
  return `${name} is not a variable of this process${hint === undefined ? '' : `; did you mean ${hint}?`}`
}

/** Kubernetes puts `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT_5002_TCP…` into each pod of a namespace: not meant for us. */
function isServiceLink(name: string): boolean {
  return /_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/.test(
    name,
  )
}

function describe({ name, kind, fallback, optional, meaning }: Variable<unknown>): Described {
  return { name, kind, fallback, required: fallback === undefined && !optional, meaning }
}

function helpText(app: string, variables: readonly Described[]): string {
  const rows = variables.map(({ name, kind, fallback, required, meaning }) => {
    const value = required ? 'required' : fallback === undefined || fallback === '' ? 'unset' : fallback
    return `  ${name} (${kind}; ${required ? value : `default: ${value}`})\n      ${meaning}\n`
  })
  return `${app} is configured by environment variables:\n\n${rows.join('')}`
}
