import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { ApiClient, KubernetesObject, Selection } from './api-client.ts'
import { follow } from './follow.ts'
import type { Listed } from './list.ts'
import { objectCache, withoutManagedFields, type Change } from './object-cache.ts'

export type { Change } from './object-cache.ts'

export interface InformerOptions<T extends KubernetesObject> {
  readonly client: ApiClient
  /** Of the collection, such as `/api/v1/pods` or `/api/v1/namespaces/nsm-system/secrets`. */
  readonly path: string
  readonly select?: Selection
  readonly log: Logger
  readonly clock?: Clock
  /** What of an object stays in memory: everything but `metadata.managedFields` unless said otherwise. Name, namespace, uid and resourceVersion must stay. */
  readonly keep?: (object: T) => T
  /** Told of each whole list, the first one included, after the changes that it made. */
  readonly onList?: (listed: Listed<T>) => void
  /** After this time without a word from the server the objects no longer count as known; default 10 min. A watch that works says something each 5 min. */
  readonly staleAfterMs?: number
  /** Numbers from 0 to 1, for the waits that keep many informers apart. */
  readonly random?: () => number
}

/** The objects of a collection as the server has them, kept up to date. */
export interface Informer<T extends KubernetesObject> {
  /** All objects are known, and the server was heard lately. */
  readonly synced: boolean
  /** All objects were known once: what is here is what there was, however long ago. */
  readonly isListed: boolean
  /** Resolves when all objects are known for the first time; rejects with the signal's reason, or CANCELLED when closed. */
  whenSynced(signal?: AbortSignal): Promise<void>
  get(namespace: string | undefined, name: string): T | undefined
  byUid(uid: string): T | undefined
  values(): Iterable<T>
  readonly size: number
  /** Calls for each change from now on, the first list's included. The answer ends that. A listener that throws is logged. */
  onChange(listener: (change: Change<T>) => void): () => void
  /** The server is there again: a pause after a failure is over. */
  wake(): void
  close(): void
}

const defaultStaleMs = 600_000

/** Lists a collection and follows it, whatever happens to the server; what was missed meanwhile is told as changes. */
export function informer<T extends KubernetesObject>(options: InformerOptions<T>): Informer<T> {
  const { client, path, select = {}, clock = systemClock, random = Math.random } = options
  const { staleAfterMs = defaultStaleMs, keep = withoutManagedFields<T>, onList = () => undefined } = options
  const log = options.log.child({ path })
  const cache = objectCache<T>({ keep, log })
  const end = new AbortController()
  let heardAt = clock.monotonic()
  let wake: () => void = () => undefined
  let markSynced: () => void = () => undefined
  const firstSync = new Promise<void>((resolve) => (markSynced = resolve))

  void follow<T>({
    client,
    path,
    select,
    log,
    clock,
    random,
    signal: end.signal,
    async pause(ms) {
      const early = new AbortController()
      wake = () => early.abort()
      end.signal.addEventListener('abort', wake, { signal: early.signal })
      await sleep({ clock, signal: early.signal }, ms).catch(() => undefined)
      wake()
    },
    onList(listed) {
      cache.replaceAll(listed.items)
      onList(listed)
      markSynced()
    },
    onEvent: (type, object) => cache.apply(type, object),
    onHeard: () => (heardAt = clock.monotonic()),
  })

  return {
    get synced() {
      return cache.isFilled && clock.monotonic() - heardAt < staleAfterMs
    },
    get isListed() {
      return cache.isFilled
    },
    whenSynced: (signal) => earliest(firstSync, [end.signal, ...(signal === undefined ? [] : [signal])]),
    get: (namespace, name) => cache.get(namespace, name),
    byUid: (uid) => cache.byUid(uid),
    values: () => cache.values(),
    get size() {
      return cache.size
    },
    onChange: (listener) => cache.onChange(listener),
    wake: () => wake(),
    close: () => end.abort(new NsmError('CANCELLED', `the informer of ${path} was closed`)),
  }
}

/** The promise, or the reason of the first signal that aborts. */
async function earliest(promise: Promise<void>, signals: readonly AbortSignal[]): Promise<void> {
  const forget = new AbortController()
  const aborted = signals.map(
    (signal) =>
      new Promise<never>((_, reject) => {
        const stop = (): void => reject(NsmError.from(signal.reason))
        if (signal.aborted) stop()
        else signal.addEventListener('abort', stop, { signal: forget.signal })
      }),
  )
  try {
    await Promise.race([...aborted, promise])
  } finally {
    forget.abort()
  }
}
