import {
  ConnectionEventType,
  MonitorScopeSelector,
  State,
  type Connection,
  type ConnectionEvent,
} from '@nsm/api/gen/connection.js'
import type { ConnectionMonitor } from '../chain.ts'
import { withCancel, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'

export interface NextHopWatcher {
  /** The first event is there, with or without the connection. */
  opened?(): void
  /** The connection as the next hop tells it, under the own id and index; a deleted one is DOWN. */
  told(conn: Connection): void
}

/**
 * Watches the own connection at the next hop until the context ends or the stream does (§4.4, §4.5).
 * @throws NsmError always, in the end: the signal's reason, the stream's error, or UNAVAILABLE when the next hop ended it
 */
export async function watchNextHop(
  ctx: Ctx,
  next: ConnectionMonitor,
  conn: Connection,
  watcher: NextHopWatcher,
): Promise<never> {
  const own = placeOf(conn)
  for await (const event of next.monitor(ctx, selectorOf(conn))) {
    watcher.opened?.()
    for (const told of Object.values(event.connections)) {
      const one = asOwn(event.type, told, own)
      if (one !== undefined) watcher.told(one)
    }
  }
  throw ended(ctx)
}

/** The own connection as the next hop has it now, as `watchNextHop` tells it; undefined = it has none. */
export async function firstTold(
  ctx: Ctx,
  next: ConnectionMonitor,
  conn: Connection,
): Promise<Connection | undefined> {
  return withCancel(ctx, async (inner, cancel) => {
    try {
      for await (const { type, connections } of next.monitor(inner, selectorOf(conn)))
        return Object.values(connections).flatMap((told) => asOwn(type, told, placeOf(conn)) ?? [])[0]
      throw ended(inner)
    } finally {
      cancel(undefined)
    }
  })
}

function selectorOf({ id, path }: Connection): MonitorScopeSelector {
  const name = path?.pathSegments[path.index]?.name ?? ''
  return MonitorScopeSelector.fromPartial({ pathSegments: [{ name, id }] })
}

/** Where a connection of this process stands on its path. */
export interface Place {
  readonly id: string
  readonly index: number
  /** Id of the segment behind; undefined = there is none. */
  readonly nextId: string | undefined
}

export function placeOf({ id, path }: Connection): Place {
  const index = path?.index ?? 0
  return { id, index, nextId: path?.pathSegments[index + 1]?.id }
}

/**
 * What the next hop tells of the connection `own`, under the own id and index; undefined = it is about another one (§4.5).
 * After a restart of the client the next hop may have two connections of its id: only that of the own path counts.
 */
export function asOwn(type: ConnectionEvent['type'], told: Connection, own: Place): Connection | undefined {
  const { path } = told
  const { id, index, nextId } = own
  if (path?.pathSegments[index]?.id !== id) return undefined
  if (path.index !== index && path.index !== index + 1) return undefined
  const toldId = path.pathSegments[index + 1]?.id
  if (path.index === index + 1 && nextId !== undefined && toldId !== nextId) return undefined
  const state = type === ConnectionEventType.DELETE ? State.DOWN : told.state
  return { ...told, id, state, path: { ...path, index } }
}

/** Why a stream is over that has ended without an error. */
export function ended(ctx: Ctx): NsmError {
  if (ctx.signal.aborted) return NsmError.from(ctx.signal.reason)
  return new NsmError('UNAVAILABLE', 'the next hop ended the monitor stream')
}
