import { randomUUID } from 'node:crypto'
import type { KubernetesObject, ObjectMeta } from '@nsm/kubernetes/api-client.js'

/** One step of the store's history. */
export interface StoredEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly collection: string
  readonly object: KubernetesObject
  readonly version: number
}

/** What an API server keeps, with one version counter for all of it. A collection is `/api/v1/pods`, without namespace. */
export interface ApiStore {
  readonly version: number
  get(collection: string, namespace: string | undefined, name: string): KubernetesObject | undefined
  list(collection: string, namespace?: string): readonly KubernetesObject[]
  /** Creates or replaces; the answer has uid and version. */
  put(collection: string, object: KubernetesObject): KubernetesObject
  remove(collection: string, namespace: string | undefined, name: string): KubernetesObject | undefined
  /** What happened after `version`, or undefined when that is forgotten. */
  since(version: number): readonly StoredEvent[] | undefined
  /** Forgets the history. */
  compact(): void
  /** The answer brings back what is there now, the version too: what a storage does that is restored from a copy. */
  copy(): () => void
  onEvent(listener: (event: StoredEvent) => void): () => void
}

/** An empty one. */
export function apiStore(): ApiStore {
  const objects = new Map<string, KubernetesObject>()
  const listeners = new Set<(event: StoredEvent) => void>()
  let history: StoredEvent[] = []
  let version = 100
  let compactedAt = version

  function happened(type: StoredEvent['type'], collection: string, object: KubernetesObject): void {
    const event = { type, collection, object, version }
    history.push(event)
    for (const listener of listeners) listener(event)
  }

  return {
    get version() {
      return version
    },
    get: (collection, namespace, name) => objects.get(keyOf(collection, namespace, name)),
    list: (collection, namespace) =>
      [...objects]
        .filter(([key]) => key.startsWith(`${collection} ${namespace === undefined ? '' : `${namespace}/`}`))
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([, object]) => object),
    put(collection, object) {
      version += 1
      const { namespace, name = `${object.metadata.generateName}${randomUUID().slice(0, 5)}` } =
        object.metadata
      const key = keyOf(collection, namespace, name)
      const before = objects.get(key)
      const metadata: ObjectMeta = {
        ...object.metadata,
        name,
        uid: before?.metadata.uid ?? object.metadata.uid ?? randomUUID(),
        resourceVersion: String(version),
      }
      const stored = { ...object, metadata }
      objects.set(key, stored)
      happened(before === undefined ? 'ADDED' : 'MODIFIED', collection, stored)
      return stored
    },
    remove(collection, namespace, name) {
      const key = keyOf(collection, namespace, name)
      const before = objects.get(key)
      if (before === undefined) return undefined
      objects.delete(key)
      version += 1
      const last = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } }
      happened('DELETED', collection, last)
      return last
    },
    since: (from) => (from < compactedAt ? undefined : history.filter((event) => event.version > from)),
    compact() {
      history = []
      compactedAt = version
    },
    copy() {
      const then = { version, objects: [...objects] }
      return () => {
        objects.clear()
        for (const [key, object] of then.objects) objects.set(key, object)
        history = []
        version = then.version
        compactedAt = 0
      }
    },
    onEvent(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

function keyOf(collection: string, namespace: string | undefined, name: string): string {
  return `${collection} ${namespace ?? ''}/${name}`
}
