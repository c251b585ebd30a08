import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import {
  keyOf,
  namedObjects,
  readObject,
  type Known,
  type NamedObjects,
  type NamedOptions,
} from './named-objects.ts'
import type { Resource } from './resource.ts'

/** Everything of one kind in the cluster: as the watch tells it, and own writes that the watch has not told yet. */
export interface KnownObjects<Item> extends Omit<NamedObjects<Item>, 'put' | 'drop'> {
  at(namespace: string, objectName: string): Known<Item> | undefined
  /** What an own call answered. */
  written(object: KubernetesObject): void
  /** An own call removed it, or found it gone. */
  removed(object: KubernetesObject): void
  /** What the watch tells. */
  told(object: KubernetesObject, deleted: boolean): void
  /** All objects that there were at a version: whatever else is known and not younger was deleted unseen. */
  listed(objects: readonly KubernetesObject[], version: string): void
  /** Shows the item otherwise until the object changes. */
  show(key: string, item: Item): void
}

export interface KnownOptions<Item> extends NamedOptions<Item> {
  readonly clock: Clock
}

/** Longer than a call or the watch is behind. After that the watch knows better, as when an older etcd was restored. */
const settledMs = 60_000

export function knownObjects<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  { clock, ...options }: KnownOptions<Item>,
): KnownObjects<Item> {
  const objects = namedObjects(resource, options)
  /** When this process wrote what the watch has not told yet, by key. */
  const writtenAt = new Map<string, number>()
  const gone = recentlyGone(clock)

  function take(object: KubernetesObject): void {
    objects.put(readObject(resource, object))
  }

  function drop(object: KubernetesObject): void {
    const key = keyOf(object)
    gone.add(object)
    // A UID never comes back, so this holds whatever has been written since.
    if (objects.get(key)?.object.metadata.uid !== object.metadata.uid) return
    writtenAt.delete(key)
    objects.drop(key)
  }

  /** Whether this process wrote it so lately that the watch may be behind. */
  function isUntold(key: string): boolean {
    const since = writtenAt.get(key)
    return since !== undefined && clock.monotonic() - since < settledMs
  }

  /** Whether an object that comes late says less than what is known. */
  function isBehind(object: KubernetesObject): boolean {
    const mine = objects.get(keyOf(object))
    return gone.has(object) || (mine !== undefined && revision(object) < revision(mine.object))
  }

  return {
    ...objects,
    get size() {
      return objects.size
    },
    at: (namespace, objectName) => objects.get(`${namespace}/${objectName}`),

    written(object) {
      if (isBehind(object)) return
      writtenAt.set(keyOf(object), clock.monotonic())
      take(object)
    },

    removed: drop,

    told(object, deleted) {
      const key = keyOf(object)
      if (deleted) {
        drop(object)
        return
      }
      if (gone.has(object) || (isUntold(key) && isBehind(object))) return
      writtenAt.delete(key)
      if (objects.get(key)?.object.metadata.resourceVersion !== object.metadata.resourceVersion) take(object)
    },

    listed(there, version) {
      const keys = new Set(there.map(keyOf))
      for (const { key, object } of objects.values()) {
        const isYounger = isUntold(key) && revision(object) > numberOf(version)
        if (!keys.has(key) && !isYounger) drop(object)
      }
    },

    show(key, item) {
      const known = objects.get(key)
      if (known !== undefined) objects.put({ ...known, item })
    },
  }
}

/** Objects that were deleted a short while ago, so that what comes late about them does not bring them back. */
function recentlyGone(clock: Clock): {
  add(object: KubernetesObject): void
  has(object: KubernetesObject): boolean
} {
  const uids = new Map<string | undefined, number>()
  return {
    add({ metadata: { uid } }) {
      for (const [old, since] of uids) {
        if (clock.monotonic() - since < settledMs) break
        uids.delete(old)
      }
      if (uid !== undefined) uids.set(uid, clock.monotonic())
    },
    has: ({ metadata: { uid } }) => uids.has(uid),
  }
}

/** Versions of one kind of object can be compared as numbers; what is none counts as old. */
function revision({ metadata }: KubernetesObject): bigint {
  return numberOf(metadata.resourceVersion ?? '')
}

function numberOf(text: string): bigint {
  return /^\d{1,40}$/.test(text) ? BigInt(text) : 0n
}
