import type { Logger } from '@nsm/sdk/log.js'
import { watchFiles } from '@nsm/sdk/watched-file.js'
import { objectOf, objectsOf, textOf, textsOf } from './json.ts'

/** What of a namespace decides about its pods. */
export interface NamespaceInfo {
  readonly labels: ReadonlyMap<string, string>
  readonly annotations: ReadonlyMap<string, string>
}

/** Where namespaces are known from. Asked in the path of each admission: from memory. */
export interface Namespaces {
  /** Whether each namespace that exists gets known: one that is not known yet is waited for, not taken for one without annotations. */
  readonly isComplete: boolean
  /** undefined = not known. */
  get(name: string): NamespaceInfo | undefined
  /** Waits a moment for one that has just been made; a check whether it is known must follow. */
  known(name: string): Promise<void>
  /** Why nothing can be told of namespaces yet. */
  fault(): string | undefined
  close(): void
}

/** Knows no namespace: only the pods' own annotations count. */
export const noNamespaces: Namespaces = {
  isComplete: false,
  get: () => undefined,
  known: async () => undefined,
  fault: () => undefined,
  close: () => undefined,
}

/** Some ten thousand namespaces. */
const maxBytes = 16 * 1_048_576

/**
 * Namespaces from a JSON file: a list of Namespace objects, or an object with `items`. The file is read again when it changes;
 * one that cannot be read keeps what was known. Rejects when the first reading fails.
 */
export async function namespacesFromFile(path: string, log: Logger): Promise<Namespaces> {
  let known: ReadonlyMap<string, NamespaceInfo> = new Map()
  const take = ([text]: readonly [string]): void => {
    known = namespacesOf(JSON.parse(text) as unknown)
  }
  const watched = await watchFiles([path], take, { log, maxBytes })
  return { ...noNamespaces, get: (name) => known.get(name), close: () => watched.close() }
}

/** The part of a Namespace object that decides about pods. */
export function namespaceInfo(metadata: {
  readonly labels?: unknown
  readonly annotations?: unknown
}): NamespaceInfo {
  return { labels: textsOf(metadata.labels), annotations: textsOf(metadata.annotations) }
}

function namespacesOf(value: unknown): ReadonlyMap<string, NamespaceInfo> {
  const items = Array.isArray(value) ? value : objectOf(value)?.['items']
  if (!Array.isArray(items)) throw new Error('expected a list of Namespace objects')
  return new Map(
    objectsOf(items).flatMap((item): [string, NamespaceInfo][] => {
      const metadata = objectOf(item['metadata'])
      const name = textOf(metadata?.['name'])
      if (metadata === undefined || name === undefined) return []
      return [[name, namespaceInfo(metadata)]]
    }),
  )
}
