import { isDeepStrictEqual } from 'node:util'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { objectTable, type ObjectLimits } from '@nsm/sdk/registry/object-table.js'
import type { Resource } from './resource.ts'

/** A custom resource as this process knows it. */
export interface Known<Item> {
  readonly key: string
  readonly object: KubernetesObject
  /** What it says; undefined when it says nothing of use. */
  readonly item: Item | undefined
  /** Why it is of no use, naming the field. */
  readonly fault: string | undefined
  /** When the registration ends by what is written, ms since the epoch; Infinity = never. `item` may tell more. */
  readonly endsMs: number
}

/** Everything of one kind in the cluster: as the watch tells it, and own writes that the watch has not told yet. */
export interface KnownObjects<Item> {
  /** Names that are served. */
  readonly size: number
  /** What counts under a registry name: of several objects the one that is registered, else the oldest. */
  named(name: string): Known<Item> | undefined
  at(namespace: string, objectName: string): Known<Item> | undefined
  get(key: string): Known<Item> | undefined
  values(): Iterable<Known<Item>>
  /** Names that may fit a pattern. */
  candidates(pattern: Item): string[]
  /** @throws NsmError RESOURCE_EXHAUSTED for an item that would be one too many. */
  admit(item: Item): void
  /** What an own call answered. */
  written(object: KubernetesObject): void
  /** An own call removed it, or found it gone. */
  removed(object: KubernetesObject): void
  /** What the watch tells. */
  told(object: KubernetesObject, deleted: boolean): void
  /** Replaces the item until the object changes. */
  override(key: string, item: Item): void
}

export interface KnownOptions<Item> {
  /** Where registrations are written. */
  readonly namespace: string
  readonly clock: Clock
  readonly limits: ObjectLimits
  /** What is served under a name has changed. */
  readonly served: (item: Item, deleted: boolean) => void
  /** An object, or what else has its name, has changed. */
  readonly touched: (known: Known<Item>) => void
}

/** How long an own write counts although the watch does not confirm it: then the watch knows better, as after a restored etcd. */
const unconfirmedMs = 60_000

interface Entry<Item> extends Known<Item> {
  /** Undefined once the watch has told of it. */
  readonly writtenMs: number | undefined
}

export function knownObjects<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  { namespace, clock, limits, served, touched }: KnownOptions<Item>,
): KnownObjects<Item> {
  const entries = new Map<string, Entry<Item>>()
  const byName = new Map<string, Set<string>>()
  const winners = new Map<string, string>()
  const index = objectTable(resource.kind, limits)
  /** UIDs of objects that this process removed, by key, until the watch has told of it. */
  const gone = new Map<string, { readonly uid: string | undefined; readonly sinceMs: number }>()

  function first(name: string): Entry<Item> | undefined {
    const rivals = [...(byName.get(name) ?? [])].flatMap((key) => entries.get(key) ?? [])
    return rivals.toSorted((a, b) => rank(a, b, namespace))[0]
  }

  /** Serves what counts under the name now. */
  function settle(name: string): void {
    const before = index.get(name)
    const winner = first(name)
    const item = winner?.item
    if (winner === undefined || item === undefined) {
      winners.delete(name)
      if (index.delete(name) !== undefined && before !== undefined) served(before, true)
    } else {
      winners.set(name, winner.key)
      index.adopt(item)
      if (!isDeepStrictEqual(before, item)) served(item, false)
    }
    for (const key of byName.get(name) ?? []) {
      const known = entries.get(key)
      if (known !== undefined) touched(known)
    }
  }

  function put(entry: Entry<Item>): void {
    const before = entries.get(entry.key)
    entries.set(entry.key, entry)
    const [old, now] = [before?.item?.name, entry.item?.name]
    if (old !== undefined && old !== now) unname(entry.key, old)
    if (now === undefined) touched(entry)
    else {
      byName.set(now, (byName.get(now) ?? new Set()).add(entry.key))
      settle(now)
    }
  }

  function unname(key: string, name: string): void {
    const keys = byName.get(name)
    keys?.delete(key)
    if (keys?.size === 0) byName.delete(name)
    settle(name)
  }

  function drop(key: string): void {
    const entry = entries.get(key)
    if (entry === undefined) return
    entries.delete(key)
    if (entry.item !== undefined) unname(key, entry.item.name)
  }

  /** A watch may be behind what this process has done meanwhile. */
  function isStale(object: KubernetesObject, key: string): boolean {
    if (gone.get(key)?.uid === object.metadata.uid && gone.has(key)) return true
    const { writtenMs, object: mine } = entries.get(key) ?? {}
    if (writtenMs === undefined || mine === undefined) return false
    return clock.now() - writtenMs < unconfirmedMs && revision(object) < revision(mine)
  }

  function forgetGone(): void {
    for (const [key, { sinceMs }] of gone) {
      if (clock.now() - sinceMs < unconfirmedMs) return
      gone.delete(key)
    }
  }

  return {
    get size() {
      return index.size
    },
    named: (name) => entries.get(winners.get(name) ?? ''),
    at: (space, name) => entries.get(`${space}/${name}`),
    get: (key) => entries.get(key),
    values: () => entries.values(),
    candidates: (pattern) => index.candidates(pattern),
    admit: (item) => index.admit(item),

    written(object) {
      const key = keyOf(object)
      const mine = entries.get(key)
      if (mine !== undefined && revision(object) < revision(mine.object)) return
      gone.delete(key)
      put({ ...read(resource, object), writtenMs: clock.now() })
    },

    removed(object) {
      const key = keyOf(object)
      forgetGone()
      const { uid } = object.metadata
      gone.delete(key)
      gone.set(key, { uid, sinceMs: clock.now() })
      if (entries.get(key)?.object.metadata.uid === uid) drop(key)
    },

    told(object, deleted) {
      const key = keyOf(object)
      const { uid } = object.metadata
      if (deleted) {
        // A UID never comes back, so this holds whatever this process has written since.
        if (gone.get(key)?.uid === uid) gone.delete(key)
        if (entries.get(key)?.object.metadata.uid === uid) drop(key)
      } else if (!isStale(object, key)) {
        const mine = entries.get(key)
        if (mine !== undefined && mine.object.metadata.resourceVersion === object.metadata.resourceVersion)
          entries.set(key, { ...mine, writtenMs: undefined })
        else put({ ...read(resource, object), writtenMs: undefined })
      }
    },

    override(key, item) {
      const entry = entries.get(key)
      if (entry !== undefined) put({ ...entry, item })
    },
  }
}

/** When an item's registration ends, ms since the epoch; Infinity = never. */
export function endOf<Item extends RegistryItem, Query, Response>(
  { kind }: Resource<Item, Query, Response>,
  item: Item,
): number {
  return kind.expirationTime(item)?.getTime() ?? Infinity
}

function keyOf({ metadata }: KubernetesObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name ?? ''}`
}

/** The API says that versions of one kind can be compared as numbers; one that is none counts as old. */
function revision({ metadata }: KubernetesObject): bigint {
  const text = metadata.resourceVersion ?? ''
  return /^\d{1,40}$/.test(text) ? BigInt(text) : 0n
}

function read<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  object: KubernetesObject,
): Known<Item> {
  const key = keyOf(object)
  try {
    const item = resource.decode(object)
    return { key, object, item, fault: undefined, endsMs: endOf(resource, item) }
  } catch (err) {
    return { key, object, item: undefined, fault: NsmError.from(err).message, endsMs: Infinity }
  }
}

/** Registered before written by hand, older before younger, so that nobody takes a name by writing an object of his own. */
function rank<Item extends RegistryItem>(a: Known<Item>, b: Known<Item>, namespace: string): number {
  const registered = (one: Known<Item>): number =>
    one.object.metadata.namespace !== namespace ? 2 : one.object.metadata.name === one.item?.name ? 0 : 1
  const age = ({ object }: Known<Item>): string => object.metadata.creationTimestamp ?? ''
  return registered(a) - registered(b) || compare(age(a), age(b)) || compare(a.key, b.key)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
