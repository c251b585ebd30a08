import {
  ConnectionEventType,
  MonitorScopeSelector,
  State,
  type Connection,
  type ConnectionEvent,
} from '@nsm/api/gen/connection.js'
import type { ConnectionMonitor } from '../chain.ts'
import type { Ctx } from '../ctx.ts'
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
  const own = conn.path?.pathSegments[conn.path.index]
  const selector = MonitorScopeSelector.fromPartial({
    pathSegments: [{ name: own?.name ?? '', id: conn.id }],
  })
  for await (const event of next.monitor(ctx, selector)) {
    watcher.opened?.()
    for (const told of Object.values(event.connections)) {
      const one = asOwn(event.type, told, { id: conn.id, index: conn.path?.index ?? 0 })
      if (one !== undefined) watcher.told(one)
    }
  }
  throw ended(ctx)
}

/** What the next hop tells of the connection `own`, under the own id and index; undefined = it is about another one (§4.5). */
export function asOwn(
  type: ConnectionEvent['type'],
  told: Connection,
  own: { readonly id: string; readonly index: number },
): Connection | undefined {
  const { path } = told
  const { id, index } = own
  if (path?.pathSegments[index]?.id !== id) return undefined
  if (path.index !== index && path.index !== index + 1) return undefined
  const state = type === ConnectionEventType.DELETE ? State.DOWN : told.state
  return { ...told, id, state, path: { ...path, index } }
}

/** Why a stream is over that has ended without an error. */
export function ended(ctx: Ctx): NsmError {
  if (ctx.signal.aborted) return NsmError.from(ctx.signal.reason)
  return new NsmError('UNAVAILABLE', 'the next hop ended the monitor stream')
}
