import type { Connection } from '@nsm/api/gen/connection.js'
import type { Element } from '../chain.ts'
import { key, valueOf, type Ctx, type Key } from '../ctx.ts'
import type { Remote } from '../transport/remote.ts'
import { remoteOfCall } from './dial.ts'
import { sessionWatch, type SessionWatch } from './session-watch.ts'

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
export function monitorClient(name: string): MonitorClientElement {
  const watches = new Map<string, () => void>()
  const sessions = new Map<AbortSignal, SessionWatch>()

  function unwatch(id: string): void {
    watches.get(id)?.()
    watches.delete(id)
  }

  /** Sessions are told apart by the signal of their end: one may be dialled many times. */
  function watchOf(ctx: Ctx, remote: Remote): SessionWatch {
    const { closed } = remote
    const known = sessions.get(closed)
    if (known !== undefined) return known
    const watch = sessionWatch(ctx, remote, name, () => {
      if (sessions.get(closed) === watch) sessions.delete(closed)
    })
    sessions.set(closed, watch)
    return watch
  }

  return {
    name: 'monitor client',

    async request(ctx, req, next) {
      const conn = await next.request(ctx, req)
      const listener = valueOf(ctx, nextHopListener)
      if (listener === undefined) return conn
      const stop = watchOf(ctx, remoteOfCall(ctx)).add(conn, listener)
      unwatch(conn.id)
      watches.set(conn.id, stop)
      return conn
    },

    async close(ctx, conn, next) {
      unwatch(conn.id)
      await next.close(ctx, conn)
    },

    stop() {
      for (const watch of sessions.values()) watch.stop()
      watches.clear()
    },
  }
}
