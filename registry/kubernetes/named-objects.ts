import { isDeepStrictEqual } from 'node:util'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { objectTable, type ObjectLimits } from '@nsm/sdk/registry/object-table.js'
import type { Resource } from './resource.ts'

/** A custom resource as this process knows it. */
export interface Known<Item> {
  /** Namespace and name. */
  readonly key: string
  readonly object: KubernetesObject
  /** What it says; undefined when it says nothing of use. */
  readonly stored: Item | undefined
  /** What is served: the same, but perhaps with a later end than what is written yet. */
  readonly item: Item | undefined
  /** Why it is of no use, naming the field. */
  readonly fault: string | undefined
  /** When the registration ends by what is written, ms since the epoch; Infinity = never. */
  readonly endsMs: number
}

/** Objects by key and by what they are called in the registry, of which several may have one name. */
export interface NamedObjects<Item> {
  /** Names that are served. */
  readonly size: number
  /** What counts under a name. */
  named(name: string): Known<Item> | undefined
  get(key: string): Known<Item> | undefined
  /** Those put while it is walked come, too. */
  values(): IterableIterator<Known<Item>>
  /** Names that may fit a pattern. */
  candidates(pattern: Item): string[]
  /** @throws NsmError RESOURCE_EXHAUSTED for an item that would be one too many. */
  admit(item: Item): void
  put(known: Known<Item>): void
  drop(key: string): void
}

export interface NamedOptions<Item> {
  /** Where registrations are written. */
  readonly namespace: string
  readonly limits: ObjectLimits
  /** What is served under a name has changed. */
  readonly served: (item: Item, deleted: boolean) => void
  /** An object, or what else has its name, has changed. */
  readonly touched: (known: Known<Item>) => void
}

export function namedObjects<Item extends RegistryItem, Query, Response>(
  { kind }: Resource<Item, Query, Response>,
  { namespace, limits, served, touched }: NamedOptions<Item>,
): NamedObjects<Item> {
  const all = new Map<string, Known<Item>>()
  const keysOf = new Map<string, Set<string>>()
  const winners = new Map<string, string>()
  const index = objectTable(kind, limits)

  /** Serves what counts under the name now. */
  function settle(name: string): void {
    const rivals = [...(keysOf.get(name) ?? [])].flatMap((key) => all.get(key) ?? [])
    const winner = rivals.toSorted((a, b) => precedence(a, b, namespace))[0]
    const before = index.get(name)
    if (winner?.item === undefined) {
      winners.delete(name)
      index.delete(name)
      if (before !== undefined) served(before, true)
    } else {
      winners.set(name, winner.key)
      index.adopt(winner.item)
      if (!isDeepStrictEqual(before, winner.item)) served(winner.item, false)
    }
    for (const rival of rivals) touched(rival)
  }

  function forget(key: string, name: string | undefined): void {
    if (name === undefined) return
    const keys = keysOf.get(name)
    keys?.delete(key)
    if (keys?.size === 0) keysOf.delete(name)
    settle(name)
  }

  return {
    get size() {
      return index.size
    },
    named: (name) => all.get(winners.get(name) ?? ''),
    get: (key) => all.get(key),
    values: () => all.values(),
    candidates: (pattern) => index.candidates(pattern),
    admit: (item) => index.admit(item),

    put(known) {
      const name = known.item?.name
      const before = all.get(known.key)?.item?.name
      all.set(known.key, known)
      if (before !== name) forget(known.key, before)
      if (name === undefined) touched(known)
      else {
        keysOf.set(name, (keysOf.get(name) ?? new Set()).add(known.key))
        settle(name)
      }
    },

    drop(key) {
      const name = all.get(key)?.item?.name
      all.delete(key)
      forget(key, name)
    },
  }
}

/** Reads an object, whatever it says. */
export function readObject<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  object: KubernetesObject,
): Known<Item> {
  const key = keyOf(object)
  try {
    const item = resource.decode(object)
    return {
      key,
      object,
      stored: item,
      item,
      fault: undefined,
      endsMs: resource.kind.expirationTime(item)?.getTime() ?? Infinity,
    }
  } catch (err) {
    return {
      key,
      object,
      stored: undefined,
      item: undefined,
      fault: NsmError.from(err).message,
      endsMs: Infinity,
    }
  }
}

export function keyOf({ metadata }: KubernetesObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name ?? ''}`
}

/** Registered before written by hand, older before younger: nobody takes a name by writing an object of his own. */
function precedence<Item extends RegistryItem>(a: Known<Item>, b: Known<Item>, namespace: string): number {
  const byHand = ({ object: { metadata }, item }: Known<Item>): number => {
    if (metadata.namespace !== namespace) return 2
    return metadata.name === item?.name ? 0 : 1
  }
  const since = ({ object }: Known<Item>): string => object.metadata.creationTimestamp ?? ''
  return byHand(a) - byHand(b) || compare(since(a), since(b)) || compare(a.key, b.key)
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
