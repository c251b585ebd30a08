import { isDeepStrictEqual } from 'node:util'
import {
  Connection,
  ConnectionEventType,
  State,
  type ConnectionEvent,
  type MonitorScopeSelector,
} from '@nsm/api/gen/connection.js'
import { connectionOf, type ConnectionMonitor, type Element } from '../chain.ts'
import { withValue, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { multiMap } from '../multi-map.ts'
import { serviceConnection } from '../policies/service-connection.ts'
import { nextHopListener, type NextHopListener } from './monitor-client.ts'
import { eventQueue } from './event-queue.ts'
import { withoutHopTimes } from './hop-time.ts'
import { inScope } from './scope-selector.ts'
import {
  idsOf,
  selectedId,
  watchedConnections,
  type Watched,
  type WatchedConnections,
} from './watched-connections.ts'

export interface MonitorOptions {
  /** Events that may wait for one watcher before its stream is cut; default 1,024. */
  readonly maxQueued?: number
  /** Each connection may have one, and some more; default 32,768. */
  readonly maxWatchers?: number
  /** SPIFFE IDs that hear of all connections, not only of those on whose path they are. */
  readonly observers?: ReadonlySet<string>
}

export interface Monitor {
  readonly element: Element
  readonly monitor: ConnectionMonitor
  /** Connections by state, as metrics want them. */
  readonly counts: () => Readonly<Record<'up' | 'down', number>>
  /** Ends all streams. */
  readonly close: () => void
}

interface Watcher {
  readonly wants: (watched: Watched) => boolean
  readonly push: (event: ConnectionEvent) => void
  readonly end: (reason: NsmError) => void
}

/** How many connections the first event holds at most; the others follow as updates: a message has 4 MiB at most. */
const connectionsPerEvent = 32
/** Connections are told many at a time, and repeated from hop to hop. */
const maxConnectionBytes = 98_304

/**
 * Tells what happens to the connections of this process (§4.4): the element notes it, the monitor tells it.
 *
 * What the next hop says of a connection is repeated as an update of the own one. A watcher hears only of connections on whose path
 * it is. One that does not keep up is cut off with RESOURCE_EXHAUSTED, and begins again with the full state.
 */
export function monitor(options: MonitorOptions = {}): Monitor {
  const { maxQueued = 1_024, maxWatchers = 32_768, observers = new Set<string>() } = options
  const known = watchedConnections()
  const watchers = new Set<Watcher>()
  const watchersOfOne = multiMap<string, Watcher>()
  const watchersOfMany = new Set<Watcher>()

  function join(watcher: Watcher, id: string | undefined): () => void {
    watchers.add(watcher)
    if (id === undefined) watchersOfMany.add(watcher)
    else watchersOfOne.add(id, watcher)
    return () => {
      watchers.delete(watcher)
      watchersOfMany.delete(watcher)
      if (id !== undefined) watchersOfOne.delete(id, watcher)
    }
  }

  async function* watch(ctx: Ctx, selector: MonitorScopeSelector): AsyncGenerator<ConnectionEvent> {
    if (watchers.size >= maxWatchers) {
      throw new NsmError('RESOURCE_EXHAUSTED', `${maxWatchers} monitors are open already`)
    }
    const wants = (watched: Watched): boolean =>
      inScope(selector, watched.conn) && mayHear(ctx, watched, observers)
    const queue = eventQueue<ConnectionEvent>(maxQueued)
    for (const event of initialEvents([...known.candidates(selector)].filter(wants))) queue.force(event)
    const leave = join({ wants, push: queue.push, end: queue.end }, selectedId(selector))
    try {
      yield* queue.drain(ctx.signal)
    } finally {
      leave()
    }
  }

  function tell(type: ConnectionEventType, watched: Watched): void {
    const event: ConnectionEvent = { type, connections: { [watched.conn.id]: watched.conn } }
    const concerned = new Set(watchersOfMany)
    for (const id of idsOf(watched.conn)) for (const one of watchersOfOne.get(id)) concerned.add(one)
    for (const watcher of concerned) if (watcher.wants(watched)) watcher.push(event)
  }

  return {
    element: noteConnections(known, tell),
    monitor: { monitor: watch },
    counts: () => countStates(known.all()),
    close() {
      for (const watcher of watchers) watcher.end(new NsmError('UNAVAILABLE', 'the process is stopping'))
    },
  }
}

/** The newest ones say it all. */
const maxHeld = 8

type Tell = (type: ConnectionEventType, watched: Watched) => void

/** Keeps `known` up to date and tells each change. */
function noteConnections(known: WatchedConnections, tell: Tell): Element {
  /** How long a Request took is for who made it: it would make each one look like a change to who watches. */
  function update(conn: Connection): void {
    tell(ConnectionEventType.UPDATE, known.set(withoutHopTimes(conn)))
  }

  function down(id: string): void {
    const conn = known.get(id)?.conn
    if (conn !== undefined && conn.state !== State.DOWN) update({ ...conn, state: State.DOWN })
  }

  function repeat(id: string, { context, state, path }: Connection): void {
    const own = known.get(id)?.conn
    if (own === undefined) return
    const repeated = withoutHopTimes({ ...own, context, state, path: ownPath(path, own) })
    if (isDeepStrictEqual(repeated, own)) return
    if (Connection.encode(repeated).finish().length > maxConnectionBytes) down(id)
    else update(repeated)
  }

  return {
    name: 'monitor',

    async request(ctx, req, next) {
      const { id, path } = connectionOf(req)
      const ear = afterAnswer({ told: (conn) => repeat(id, conn), lost: () => down(id) })
      try {
        const conn = await next.request(withValue(ctx, nextHopListener, ear.listener), req)
        const index = path?.index ?? 0
        update({ ...conn, id, state: State.UP, path: { pathSegments: [], ...conn.path, index } })
        ear.open()
        return conn
      } catch (err) {
        down(id)
        throw err
      }
    },

    async close(ctx, conn, next) {
      try {
        await next.close(ctx, conn)
      } finally {
        const watched = known.get(conn.id)
        known.delete(conn.id)
        if (watched !== undefined) tell(ConnectionEventType.DELETE, watched)
      }
    },
  }
}

/** Holds back what the next hop tells until the answer is noted, since it is newer. */
function afterAnswer(listener: NextHopListener): { readonly listener: NextHopListener; open(): void } {
  let held: (() => void)[] | undefined = []
  const heard = (event: () => void): void => {
    if (held === undefined) event()
    else held = [...held.slice(1 - maxHeld), event]
  }
  return {
    listener: { told: (conn) => heard(() => listener.told(conn)), lost: () => heard(() => listener.lost()) },
    open() {
      const events = held ?? []
      held = undefined
      for (const event of events) event()
    },
  }
}

function ownPath(path: Connection['path'], own: Connection): Connection['path'] {
  return path === undefined ? own.path : { ...path, index: own.path?.index ?? 0 }
}

function mayHear({ peer }: Ctx, { tokens }: Watched, observers: ReadonlySet<string>): boolean {
  if (peer === undefined || observers.has(peer.spiffeId)) return true
  return serviceConnection({ watcher: peer.spiffeId, tokens }) === undefined
}

/** The state as it is: one event even when there is nothing to tell. */
function initialEvents(watched: readonly Watched[]): ConnectionEvent[] {
  const events: ConnectionEvent[] = []
  for (let start = 0; start === 0 || start < watched.length; start += connectionsPerEvent) {
    const part = watched.slice(start, start + connectionsPerEvent)
    const connections = Object.fromEntries(part.map(({ conn }) => [conn.id, conn]))
    const type = start === 0 ? ConnectionEventType.INITIAL_STATE_TRANSFER : ConnectionEventType.UPDATE
    events.push({ type, connections })
  }
  return events
}

function countStates(known: Iterable<Watched>): { up: number; down: number } {
  const counts = { up: 0, down: 0 }
  for (const { conn } of known) counts[conn.state === State.DOWN ? 'down' : 'up']++
  return counts
}
