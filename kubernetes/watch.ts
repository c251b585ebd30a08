import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { ApiClient, KubernetesObject, Selection } from './api-client.ts'
import { lines } from './lines.ts'
import { withQuery } from './list.ts'
import { statusError } from './status-error.ts'

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T; readonly version: string }
  | { readonly type: 'BOOKMARK'; readonly version: string }

export interface WatchOptions<T> {
  readonly client: ApiClient
  /** Of the collection. */
  readonly path: string
  readonly select: Selection
  /** Version after which the watch goes on. */
  readonly from: string
  readonly clock: Clock
  readonly random: () => number
  readonly signal: AbortSignal
  /** The server has accepted the watch. */
  readonly onOpen: () => void
  readonly onEvent: (event: WatchEvent<T>) => void
}

/** How many seconds the server is asked to go on, at least and at most: watches that began together don't end together. */
const shortestSeconds = 240
const longestSeconds = 360
/** A server that has not ended the watch so long after its time isn't there any more. */
const marginMs = 30_000

/**
 * Follows a collection until the server ends the watch: `isForgotten` = the version is too old for it.
 * Rejects as `ApiClient.stream`, and with UNAVAILABLE when the server falls silent.
 */
export async function watchOnce<T extends KubernetesObject>(
  options: WatchOptions<T>,
): Promise<{ readonly isForgotten: boolean }> {
  const { client, path, select, from, clock, random, signal, onOpen, onEvent } = options
  const seconds = Math.round(shortestSeconds + (longestSeconds - shortestSeconds) * random())
  const query = {
    ...select,
    watch: 'true',
    resourceVersion: from,
    allowWatchBookmarks: 'true',
    timeoutSeconds: String(seconds),
  }
  const end = new AbortController()
  const stop = (): void => end.abort(signal.reason)
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  const silence = new NsmError('UNAVAILABLE', `watch of ${path}: the server has fallen silent`)
  const disarm = clock.after(seconds * 1000 + marginMs, () => end.abort(silence))
  let newest = from
  try {
    const stream = await client.stream(withQuery(path, query), end.signal)
    onOpen()
    for await (const line of lines(stream)) {
      const event = parse<T>(path, line)
      if (event === undefined) continue
      // Versions only grow, unless the server's storage was restored from an older copy.
      if (isOlder(event.version, newest)) return { isForgotten: true }
      newest = event.version
      onEvent(event)
    }
    return { isForgotten: false }
  } catch (reason) {
    const err = NsmError.from(end.signal.aborted ? end.signal.reason : reason)
    if (err.code === 'OUT_OF_RANGE') return { isForgotten: true }
    if (err.code !== 'UNKNOWN') throw err
    throw new NsmError('UNAVAILABLE', `watch of ${path}: ${err.message}`, { cause: reason })
  } finally {
    disarm()
    signal.removeEventListener('abort', stop)
    end.abort()
  }
}

/** undefined = an event that says nothing here. Throws what the server reports as an error. */
function parse<T extends KubernetesObject>(path: string, line: string): WatchEvent<T> | undefined {
  const { type, object } = JSON.parse(line) as { type?: unknown; object?: KubernetesObject }
  if (object === undefined) return undefined
  if (type === 'ERROR') {
    const { code } = object
    throw statusError(`watch of ${path}`, typeof code === 'number' ? code : 500, JSON.stringify(object))
  }
  const version = object.metadata.resourceVersion ?? ''
  if (type === 'BOOKMARK') return { type, version }
  if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') return undefined
  return { type, object: object as T, version }
}

/** Versions are whole numbers; others are not compared. */
function isOlder(version: string, than: string): boolean {
  return /^\d+$/.test(version) && /^\d+$/.test(than) && BigInt(version) < BigInt(than)
}
