import type { Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'

export interface WatchLimits {
  /** Watches at one time, in total. */
  readonly total: number
  /** Watches at one time of one SPIFFE ID. */
  readonly perPeer: number
  /** Objects that one watch may have waiting; a slower watcher is cut. */
  readonly waiting: number
}

/** One open watch. */
export interface Watch<Response> {
  /** Changes since the watch was opened, until the signal aborts; several changes of one object that wait are told as the last. */
  events(signal: AbortSignal): AsyncIterable<Response>
  close(): void
}

/** All watches of one store. */
export interface Watchers<Item, Response> {
  open(ctx: Ctx, pattern: Item): Watch<Response>
  publish(item: Item, deleted: boolean): void
}

interface Inbox<Item, Response> {
  readonly pattern: Item
  readonly waiting: Map<string, Response>
  overflown: boolean
  wake: () => void
}

/** Watches, found by what they ask for, so that a change costs only those that it concerns. */
export function watchers<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  limits: WatchLimits,
): Watchers<Item, Response> {
  const buckets = new Map<string, Set<Inbox<Item, Response>>>()
  const perPeer = new Map<string, number>()
  let total = 0

  function count(peer: string, change: 1 | -1): void {
    const now = (perPeer.get(peer) ?? 0) + change
    total += change
    if (now === 0) perPeer.delete(peer)
    else perPeer.set(peer, now)
  }

  function deliver(inbox: Inbox<Item, Response>, item: Item, deleted: boolean): void {
    if (!kind.matches(inbox.pattern, item)) return
    inbox.waiting.delete(item.name)
    if (inbox.waiting.size >= limits.waiting) {
      inbox.overflown = true
      inbox.waiting.clear()
    }
    if (!inbox.overflown) inbox.waiting.set(item.name, kind.response(item, deleted))
    inbox.wake()
  }

  return {
    open(ctx, pattern) {
      const peer = ctx.peer?.spiffeId ?? ''
      if (total >= limits.total || (perPeer.get(peer) ?? 0) >= limits.perPeer)
        throw new NsmError(
          'RESOURCE_EXHAUSTED',
          `${kind.what} watches: ${total} are open, no more are allowed`,
        )
      const bucket = bucketOf(pattern.name, kind.services(pattern)[0])
      const inbox: Inbox<Item, Response> = {
        pattern,
        waiting: new Map(),
        overflown: false,
        wake: () => undefined,
      }
      const members = buckets.get(bucket) ?? new Set()
      buckets.set(bucket, members.add(inbox))
      count(peer, 1)
      return {
        events: (signal) => drain(inbox, signal),
        close() {
          if (!members.delete(inbox)) return
          if (members.size === 0 && buckets.get(bucket) === members) buckets.delete(bucket)
          count(peer, -1)
        },
      }
    },

    publish(item, deleted) {
      const concerned = ['', bucketOf(item.name), ...kind.services(item).map((name) => bucketOf('', name))]
      for (const bucket of new Set(concerned))
        for (const inbox of buckets.get(bucket) ?? []) deliver(inbox, item, deleted)
    },
  }
}

function bucketOf(name: string, service?: string): string {
  if (name !== '') return `name ${name}`
  return service === undefined ? '' : `service ${service}`
}

async function* drain<Item, Response>(
  inbox: Inbox<Item, Response>,
  signal: AbortSignal,
): AsyncGenerator<Response, void, undefined> {
  const wake = (): void => inbox.wake()
  signal.addEventListener('abort', wake)
  try {
    while (!signal.aborted) {
      if (inbox.overflown) throw new NsmError('RESOURCE_EXHAUSTED', 'watch is read too slowly')
      yield* taken(inbox.waiting)
      if (!inbox.overflown && !signal.aborted) await new Promise<void>((resolve) => (inbox.wake = resolve))
    }
  } finally {
    signal.removeEventListener('abort', wake)
  }
}

/** Also what comes in meanwhile. */
function* taken<Response>(waiting: Map<string, Response>): Generator<Response, void, undefined> {
  for (const [name, response] of waiting) {
    waiting.delete(name)
    yield response
  }
}
