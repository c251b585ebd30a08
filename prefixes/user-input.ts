import { hostPrefix, formatPrefix, parseAddress, parsePrefix, type Prefix } from '@nsm/sdk/net/prefix.js'
import { parse } from 'yaml'

/** What a user's list says, and a sentence for each entry that says nothing. */
export interface UserInput {
  readonly prefixes: readonly Prefix[]
  readonly faults: readonly string[]
}

const example = 'prefixes: [172.16.0.0/12, fd00::/8]'
const maxEntries = 10_000
const maxFaults = 10

/**
 * Reads YAML with one list under `prefixes`, in any case; nothing at all is an empty list.
 * Entries that are wrong are left out. Throws, with a sentence that says what would be right, when there is no such list.
 */
export function readUserInput(text: string): UserInput {
  const entries = entriesOf(text)
  const read = entries.map((entry, at) => readEntry(entry, at))
  const faults = read.filter((one) => typeof one === 'string')
  const more = faults.length - maxFaults
  return {
    prefixes: read.filter((one) => typeof one !== 'string'),
    faults: [...faults.slice(0, maxFaults), ...(more > 0 ? [`and ${more} more like these`] : [])],
  }
}

function entriesOf(text: string): readonly unknown[] {
  const document = parsed(text)
  if (document === null || document === undefined) return []
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw new Error(`must be a mapping such as ${example}, not ${shown(document)}`)
  }
  const [key, value] = Object.entries(document).find(([name]) => name.toLowerCase() === 'prefixes') ?? []
  if (key === undefined) {
    throw new Error(`must be a mapping such as ${example}, but has the keys ${shown(Object.keys(document))}`)
  }
  const list: unknown = value ?? []
  if (!Array.isArray(list)) throw new Error(`"${key}" must be a list as in ${example}, not ${shown(list)}`)
  if (list.length > maxEntries)
    throw new Error(`"${key}" has ${list.length} entries, at most ${maxEntries} are read`)
  return list
}

function parsed(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0, logLevel: 'error' })
  } catch (err) {
    const [line = ''] = (err instanceof Error ? err.message : String(err)).split('\n', 1)
    throw new Error(`must be YAML such as ${example}: ${line.replace(/:$/, '')}`, { cause: err })
  }
}

/** The prefix, or what is wrong with the entry. */
function readEntry(entry: unknown, at: number): Prefix | string {
  const prefix = typeof entry === 'string' ? parsePrefix(entry.trim()) : undefined
  if (prefix !== undefined) return prefix
  const address = typeof entry === 'string' ? parseAddress(entry.trim()) : undefined
  const right = address === undefined ? 'a prefix such as 10.96.0.0/12' : formatPrefix(hostPrefix(address))
  return `prefixes[${at}] must be ${right}, not ${shown(entry)}`
}

function shown(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
