import type { Connection } from '@nsm/api/gen/connection.js'
import type { Element } from '../chain.ts'
import { background, key, valueOf, type Ctx, type Key } from '../ctx.ts'
import { remoteOfCall } from './dial.ts'
import { watchNextHop } from './watch-next-hop.ts'

/** Hears what becomes of a connection further on. */
export interface NextHopListener {
  told(conn: Connection): void
  /** The stream has ended; nothing follows until the next Request. */
  lost(): void
}

/** Left by a server's `monitor` for the client half of its process. */
export const nextHopListener: Key<NextHopListener> = key('next hop listener')

export interface MonitorClientElement extends Element {
  /** Ends all streams; their listeners hear nothing more. */
  stop(): void
}

/** Watches each connection at its next hop, over the session of its Request, for the server half of the process (§4.4). */
export function monitorClient(): MonitorClientElement {
  const watches = new Map<string, () => void>()

  function unwatch(id: string): void {
    watches.get(id)?.()
    watches.delete(id)
  }

  function watch(ctx: Ctx, conn: Connection, listener: NextHopListener): void {
    unwatch(conn.id)
    const { log, clock } = ctx
    const remote = remoteOfCall(ctx)
    const stream = new AbortController()
    const { signal } = stream
    watches.set(conn.id, () => stream.abort())
    const told = (one: Connection): void => {
      if (!signal.aborted) listener.told(one)
    }
    watchNextHop(background({ log, clock, signal }), remote, conn, { told }).catch((err: unknown) => {
      if (signal.aborted) return
      log.debug({ connection_id: conn.id, url: remote.url, err: String(err) }, 'monitor stream ended')
      listener.lost()
    })
  }

  return {
    name: 'monitor client',

    async request(ctx, req, next) {
      const conn = await next.request(ctx, req)
      const listener = valueOf(ctx, nextHopListener)
      if (listener !== undefined) watch(ctx, conn, listener)
      return conn
    },

    async close(ctx, conn, next) {
      unwatch(conn.id)
      await next.close(ctx, conn)
    },

    stop() {
      for (const id of watches.keys()) unwatch(id)
    },
  }
}
