import { NsmError } from '@nsm/sdk/errors.js'
import type { ApiClient, KubernetesObject, Selection } from './api-client.ts'

export interface ListOptions {
  readonly client: ApiClient
  /** Of the collection. */
  readonly path: string
  readonly select: Selection
  /** A copy that is at least as new will do: the server then need not ask its storage. undefined = the newest. */
  readonly notOlderThan?: string | undefined
  readonly signal: AbortSignal
}

/** A whole collection at one version. */
export interface Listed<T> {
  readonly items: readonly T[]
  /** From where a watch goes on. */
  readonly version: string
}

interface Page extends KubernetesObject {
  readonly items?: readonly KubernetesObject[] | null
}

/** Objects a page: neither side holds more of a large collection as text at once. */
const pageSize = 500

/** Reads a collection, page by page. Rejects as `ApiClient.get`; when pages get too old on the way, it is read again in one. */
export async function listAll<T extends KubernetesObject>(options: ListOptions): Promise<Listed<T>> {
  try {
    return await pages<T>(options, { limit: String(pageSize) })
  } catch (err) {
    if (!(err instanceof NsmError) || err.code !== 'OUT_OF_RANGE' || options.notOlderThan !== undefined)
      throw err
    return pages<T>(options, {})
  }
}

async function pages<T extends KubernetesObject>(
  { client, path, select, notOlderThan, signal }: ListOptions,
  limit: Readonly<Record<string, string>>,
): Promise<Listed<T>> {
  const first = notOlderThan === undefined ? {} : notOlder(notOlderThan)
  const items: T[] = []
  let next: string | undefined
  for (;;) {
    const query = { ...select, ...limit, ...(next === undefined ? first : { continue: next }) }
    const page = await client.get<Page>(withQuery(path, query), signal)
    items.push(...(page.items ?? []).map((item) => typed(item, page) as T))
    const { continue: more, resourceVersion = '' } = page.metadata
    if (typeof more !== 'string' || more === '') return { items, version: resourceVersion }
    next = more
  }
}

function notOlder(version: string): Record<string, string> {
  return { resourceVersion: version, resourceVersionMatch: 'NotOlderThan' }
}

/** The items of a list don't say what they are. */
function typed(item: KubernetesObject, page: Page): KubernetesObject {
  const { apiVersion, kind } = page
  if (item.kind !== undefined || apiVersion === undefined || kind === undefined) return item
  return { apiVersion, kind: kind.replace(/List$/, ''), ...item }
}

/** A path with a query; values that are undefined are left out. */
export function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
  if (given.length === 0) return path
  return `${path}${path.includes('?') ? '&' : '?'}${new URLSearchParams(given).toString()}`
}
