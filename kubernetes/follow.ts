import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { ApiClient, KubernetesObject, Selection } from './api-client.ts'
import { backoff } from '@nsm/spiffe/backoff.js'
import { listAll, type Listed } from './list.ts'
import { watchOnce, type WatchEvent } from './watch.ts'

export interface FollowOptions<T> {
  readonly client: ApiClient
  readonly path: string
  readonly select: Selection
  readonly log: Logger
  readonly clock: Clock
  readonly random: () => number
  /** Ends it. */
  readonly signal: AbortSignal
  /** Waits after a failure; may be shorter. */
  readonly pause: (ms: number) => Promise<void>
  /** All objects that there are. */
  readonly onList: (listed: Listed<T>) => void
  readonly onEvent: (type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T) => void
  /** The server said something, be it that nothing has changed. */
  readonly onHeard: () => void
}

const firstRetryMs = 500
const longestRetryMs = 15_000
/** Watches that are over sooner count as failed, or a server that ends each at once would be asked without pause. */
const shortestWatchMs = 5_000
/** After a restart the server has forgotten where all watches were: they don't list in the same moment. */
const relistSpreadMs = 3_000

/**
 * Lists a collection and watches it until the signal aborts; resolves then. A server that cannot be reached, closes, or falls silent is asked again, later
 * each time, from where the watch was; one that has forgotten where that was (410) is asked for all objects again.
 */
export async function follow<T extends KubernetesObject>(options: FollowOptions<T>): Promise<void> {
  const { client, path, select, log, clock, random, signal, pause, onHeard } = options
  const retry = backoff({ minMs: firstRetryMs, maxMs: longestRetryMs, random })
  /** Where the watch goes on; undefined = a list is needed. */
  let version: string | undefined
  /** The newest that was seen: a list must not go back behind it. */
  let seen: string | undefined

  async function list(): Promise<void> {
    const listed = await listAll<T>({ client, path, select, notOlderThan: seen, signal })
    onHeard()
    options.onList(listed)
    version = listed.version
    seen = listed.version
    log.debug({ objects: listed.items.length, version }, 'listed')
  }

  function take(event: WatchEvent<T>): void {
    onHeard()
    version = event.version
    seen = event.version
    if (event.type !== 'BOOKMARK') options.onEvent(event.type, event.object)
  }

  /** Answers how long to wait before the next step. */
  async function watch(from: string): Promise<number> {
    const startedAt = clock.monotonic()
    const wasLong = (): boolean => clock.monotonic() - startedAt >= shortestWatchMs
    try {
      const how = { client, path, select, from, clock, random, signal, onOpen: onHeard, onEvent: take }
      const { isForgotten } = await watchOnce<T>(how)
      onHeard()
      if (!isForgotten) return wasLong() ? 0 : retry.next()
      version = undefined
      log.info({ from }, 'the server has forgotten where the watch was: all is listed again')
      return relistSpreadMs * (0.1 + 0.9 * random())
    } finally {
      if (wasLong()) retry.reset()
    }
  }

  function failed(err: NsmError): number {
    // The server hasn't got so far, or has forgotten so much: what it has now is what counts.
    if (err.code === 'OUT_OF_RANGE') seen = undefined
    const retryMs = Math.round(retry.next())
    log.warn({ code: err.code, err: err.message, retry_ms: retryMs }, 'not following the API server')
    return retryMs
  }

  while (!signal.aborted) {
    let waitMs = 0
    try {
      if (version === undefined) await list()
      else waitMs = await watch(version)
    } catch (reason) {
      if (signal.aborted) return
      await pause(failed(NsmError.from(reason)))
    }
    if (waitMs > 0) await sleep({ clock, signal }, waitMs).catch(() => undefined)
  }
}
