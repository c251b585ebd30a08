import { parse } from 'yaml'
import type { Logger } from '../log.ts'
import { formatPrefix, parsePrefix } from '../net/prefix.ts'
import { watchFile } from '../watched-file.ts'

/** Where the collector writes (wire contract §5.7). */
export const excludedPrefixesPath = '/var/lib/networkservicemesh/config/excluded_prefixes.yaml'

/** Every request carries them all. */
const maxPrefixes = 2048

export interface ExcludedPrefixesFile {
  /** What the file says now; nothing while there is none. */
  prefixes(): readonly string[]
  close(): void
}

/** Follows a YAML file with one list of prefixes under `Prefixes`, in any case. Entries that are no prefixes are logged and left out. */
export async function excludedPrefixesFile(path: string, log: Logger): Promise<ExcludedPrefixesFile> {
  let prefixes: readonly string[] = []
  const watched = await watchFile(
    path,
    (text) => {
      const entries = text === undefined ? [] : entriesOf(text)
      const parsed = entries.map((entry) => (typeof entry === 'string' ? parsePrefix(entry) : undefined))
      const wrong = entries.filter((_, at) => parsed[at] === undefined).slice(0, 10)
      if (wrong.length > 0)
        log.warn(
          { path, entries: wrong },
          'excluded prefixes left out: each must be a prefix as 10.96.0.0/12',
        )
      prefixes = [
        ...new Set(parsed.flatMap((prefix) => (prefix === undefined ? [] : [formatPrefix(prefix)]))),
      ]
      log.info({ path, prefixes: prefixes.length }, 'excluded prefixes taken over')
    },
    { log },
  )
  return { prefixes: () => prefixes, close: () => watched.close() }
}

function entriesOf(text: string): unknown[] {
  const document: unknown = parse(text, { maxAliasCount: 0 })
  if (document === null || document === undefined) return []
  if (typeof document !== 'object' || Array.isArray(document))
    throw new Error('must be a mapping with a list under "prefixes"')
  const list: unknown =
    Object.entries(document).find(([name]) => name.toLowerCase() === 'prefixes')?.[1] ?? []
  if (!Array.isArray(list)) throw new Error('"prefixes" must be a list')
  if (list.length > maxPrefixes)
    throw new Error(`"prefixes" has ${list.length} entries, at most ${maxPrefixes} are taken`)
  return list
}
