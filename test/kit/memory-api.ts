import { PassThrough, type Readable } from 'node:stream'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { apiStore, type ApiStore } from './api-store.ts'

/** An API server without sockets, so that time can be moved by hand around it. */
export interface MemoryApi {
  readonly store: ApiStore
  /** Finished and refused calls, watches left out: `PUT /apis/…`. */
  readonly calls: string[]
  /** Refuses everything, and ends watches, while true. */
  isAway: boolean
  /** Ends all watches in good order. */
  endWatches(): void
  /** Told of each call before it is done; may throw, or wait. */
  before: (call: string) => void | Promise<void>
  /** Watches tell nothing until it is false again. */
  isSlow: boolean
  client(): ApiClient
}

interface Place {
  readonly collection: string
  readonly namespace: string | undefined
  readonly name: string
  readonly isStatus: boolean
}

export function memoryApi(): MemoryApi {
  const store = apiStore()
  const streams = new Set<PassThrough>()
  let isAway = false
  let isSlow = false
  let held: (() => void)[] = []

  async function called(method: string, path: string): Promise<void> {
    const call = `${method} ${path}`
    api.calls.push(call)
    if (isAway) throw new NsmError('UNAVAILABLE', `${call}: connection refused`)
    await api.before(call)
  }

  function present({ collection, namespace, name }: Place): KubernetesObject {
    const found = store.get(collection, namespace, name)
    if (found === undefined) throw new NsmError('NOT_FOUND', `${name} not found`)
    return found
  }

  /** As with a status subresource: the rest of the object goes its own way, and a change of the spec is a generation. */
  function put(place: Place, given: KubernetesObject, found: KubernetesObject): KubernetesObject {
    const { resourceVersion, uid } = given.metadata
    if (resourceVersion !== undefined && resourceVersion !== found.metadata.resourceVersion)
      throw new NsmError('ABORTED', 'the object has been modified')
    if (uid !== undefined && uid !== found.metadata.uid) throw new NsmError('ABORTED', 'it is another object')
    const next = place.isStatus
      ? { ...found, status: given['status'] }
      : {
          ...given,
          status: found['status'],
          metadata: { ...given.metadata, namespace: place.namespace ?? '' },
        }
    if (JSON.stringify(strip(next)) === JSON.stringify(strip(found))) return found
    return store.put(place.collection, next)
  }

  const client: ApiClient = {
    namespace: 'nsm-system',
    async get<T extends KubernetesObject>(path: string) {
      await called('GET', path)
      const place = placeOf(path)
      if (place.name !== '') return present(place) as T
      const items = store.list(place.collection, place.namespace)
      return { metadata: { resourceVersion: String(store.version) }, items } as unknown as T
    },
    async create<T extends KubernetesObject>(path: string, object: T) {
      await called('POST', path)
      const { collection, namespace = '' } = placeOf(path)
      const { name = '' } = object.metadata
      if (store.get(collection, namespace, name) !== undefined)
        throw new NsmError('ALREADY_EXISTS', `${name} already exists`)
      return store.put(collection, { ...object, metadata: { ...object.metadata, namespace } }) as T
    },
    async replace<T extends KubernetesObject>(path: string, object: T) {
      await called('PUT', path)
      const place = placeOf(path)
      return put(place, object, present(place)) as T
    },
    async patch<T extends KubernetesObject>(path: string, patch: unknown) {
      await called('PATCH', path)
      const place = placeOf(path)
      const found = present(place)
      const { metadata, ...rest } = patch as KubernetesObject
      return put(place, { ...found, ...rest, metadata: { ...found.metadata, ...metadata } }, found) as T
    },
    async delete(path, preconditions = {}) {
      await called('DELETE', path)
      const place = placeOf(path)
      const { uid, resourceVersion } = present(place).metadata
      if (
        (preconditions.uid ?? uid) !== uid ||
        (preconditions.resourceVersion ?? resourceVersion) !== resourceVersion
      )
        throw new NsmError('ABORTED', 'the precondition failed')
      store.remove(place.collection, place.namespace, place.name)
    },
    stream: async (path, signal) => watch(path, signal),
    close: () => undefined,
  }

  function watch(path: string, signal: AbortSignal | undefined): Readable {
    if (isAway) throw new NsmError('UNAVAILABLE', 'connection refused')
    const url = new URL(path, 'http://server')
    const { collection } = placeOf(url.pathname)
    const stream = new PassThrough({ encoding: 'utf8' })
    const tell = (event: { type: string; collection: string; object: KubernetesObject }): void => {
      if (event.collection !== collection) return
      const line = `${JSON.stringify({ type: event.type, object: event.object })}\n`
      const send = (): void => void stream.write(line)
      if (isSlow) held.push(send)
      else send()
    }
    const missed = store.since(Number(url.searchParams.get('resourceVersion')))
    if (missed === undefined) throw new NsmError('OUT_OF_RANGE', 'too old resource version')
    const forget = store.onEvent(tell)
    streams.add(stream)
    stream.on('close', () => {
      forget()
      streams.delete(stream)
    })
    signal?.addEventListener('abort', () => stream.destroy(), { once: true })
    for (const event of missed) tell(event)
    return stream
  }

  const api: MemoryApi = {
    store,
    calls: [],
    before: () => undefined,
    client: () => client,
    get isAway() {
      return isAway
    },
    set isAway(now) {
      isAway = now
      if (now) api.endWatches()
    },
    endWatches() {
      for (const stream of streams) stream.end()
    },
    get isSlow() {
      return isSlow
    },
    set isSlow(now) {
      isSlow = now
      const waiting = held
      held = []
      for (const send of waiting) send()
    },
  }
  return api
}

/** A path such as `/apis/g/v1/namespaces/n/things/x/status`, or `/apis/g/v1/things?limit=1`. */
function placeOf(path: string): Place {
  const [, apis, group, version, ...parts] = (path.split('?')[0] ?? '').split('/')
  const isNamespaced = parts[0] === 'namespaces'
  const [plural, name = '', sub] = isNamespaced ? parts.slice(2) : parts
  return {
    collection: `/${apis}/${group}/${version}/${plural}`,
    namespace: isNamespaced ? parts[1] : undefined,
    name,
    isStatus: sub === 'status',
  }
}

function strip(object: KubernetesObject): object {
  return { ...object, metadata: { ...object.metadata, resourceVersion: undefined } }
}
