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
    for (const one of concerning(event, conn)) watcher.told(one)
  }
  if (ctx.signal.aborted) throw NsmError.from(ctx.signal.reason)
  throw new NsmError('UNAVAILABLE', 'the next hop ended the monitor stream')
}

function* concerning(event: ConnectionEvent, own: Connection): Generator<Connection> {
  const index = own.path?.index ?? 0
  for (const told of Object.values(event.connections)) {
    const { path } = told
    if (path?.pathSegments[index]?.id !== own.id) continue
    if (path.index !== index && path.index !== index + 1) continue
    const state = event.type === ConnectionEventType.DELETE ? State.DOWN : told.state
    yield { ...told, id: own.id, state, path: { ...path, index } }
  }
}
