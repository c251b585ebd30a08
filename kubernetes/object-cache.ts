import { isDeepStrictEqual } from 'node:util'
import type { Logger } from '@nsm/sdk/log.js'
import type { KubernetesObject } from './api-client.ts'

/** What happened to an object. `previous` = as it was known before; with `deleted`, `object` is the last that was known or told. */
export interface Change<T> {
  readonly type: 'added' | 'modified' | 'deleted'
  readonly object: T
  readonly previous?: T
}

/** Objects of one collection by name and by uid, and who wants to hear of changes. */
export interface ObjectCache<T> {
  /** A whole list was taken over. */
  readonly isFilled: boolean
  readonly size: number
  get(namespace: string | undefined, name: string): T | undefined
  byUid(uid: string): T | undefined
  values(): Iterable<T>
  onChange(listener: (change: Change<T>) => void): () => void
  /** Takes over an event of a watch. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T): void
  /** Takes over a list: what is not in it is deleted. */
  replaceAll(objects: readonly T[]): void
}

/** An empty one. `keep` says what of an object stays in memory. */
export function objectCache<T extends KubernetesObject>(options: {
  readonly keep: (object: T) => T
  readonly log: Logger
}): ObjectCache<T> {
  const { keep, log } = options
  const byName = new Map<string, T>()
  const byUid = new Map<string, T>()
  const changes = listeners<T>(log)
  let isFilled = false

  function put(given: T): void {
    const key = keyOf(given)
    const previous = byName.get(key)
    if (previous !== undefined && previous.metadata.uid !== given.metadata.uid) {
      remove(previous)
      put(given)
      return
    }
    const object = keep(given)
    // Told again by a list. A storage restored from a copy may use a version twice.
    if (isDeepStrictEqual(previous, object)) return
    byName.set(key, object)
    const { uid } = object.metadata
    if (uid !== undefined) byUid.set(uid, object)
    changes.tell(previous === undefined ? { type: 'added', object } : { type: 'modified', object, previous })
  }

  function remove(given: T): void {
    const key = keyOf(given)
    const previous = byName.get(key)
    if (previous === undefined) return
    byName.delete(key)
    if (previous.metadata.uid !== undefined) byUid.delete(previous.metadata.uid)
    changes.tell({ type: 'deleted', object: given === previous ? previous : keep(given), previous })
  }

  return {
    get isFilled() {
      return isFilled
    },
    get size() {
      return byName.size
    },
    get: (namespace, name) => byName.get(nameKey(namespace, name)),
    byUid: (uid) => byUid.get(uid),
    values: () => byName.values(),
    onChange: (listener) => changes.add(listener),
    apply: (type, object) => (type === 'DELETED' ? remove(object) : put(object)),
    replaceAll(objects) {
      const there = new Set(objects.map(keyOf))
      // A map may lose entries while it is walked.
      for (const [key, object] of byName) if (!there.has(key)) remove(object)
      for (const object of objects) put(object)
      isFilled = true
    },
  }
}

type Listener<T> = (change: Change<T>) => void

function listeners<T extends KubernetesObject>(
  log: Logger,
): { add(listener: Listener<T>): () => void; tell(change: Change<T>): void } {
  const all = new Set<Listener<T>>()
  return {
    add(listener) {
      all.add(listener)
      return () => all.delete(listener)
    },
    tell(change) {
      for (const listener of all) {
        try {
          listener(change)
        } catch (err) {
          const { namespace, name } = change.object.metadata
          log.error({ err: String(err), namespace, name }, 'a change was not handled')
        }
      }
    },
  }
}

/** The object without the list of who wrote which field: often half of it. */
export function withoutManagedFields<T extends KubernetesObject>(object: T): T {
  if (object.metadata['managedFields'] === undefined) return object
  const { managedFields: _, ...metadata } = object.metadata
  return { ...object, metadata }
}

function keyOf({ metadata }: KubernetesObject): string {
  return nameKey(metadata.namespace, metadata.name ?? '')
}

function nameKey(namespace: string | undefined, name: string): string {
  return `${namespace ?? ''}/${name}`
}
