import { State, type Connection } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'
import { background, key, valueOf, withTimeout, type Ctx, type Key } from '../ctx.ts'
import type { Remote } from '../transport/remote.ts'
import { remoteOfCall } from './dial.ts'
import { sessionWatch, type SessionWatch } from './session-watch.ts'
import { firstTold } from './watch-next-hop.ts'

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

/** How long the next hop may take to say how a connection is. */
const lookMs = 5_000

/**
 * Watches each connection at its next hop, over the session of its Request, for the server half of the process (§4.4).
 *
 * One stream serves all connections of a session. What it tells of a connection while the Request still runs may be older or newer
 * than the answer: after a loss told meanwhile the next hop is asked again.
 */
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

  /** A stream that another Request has opened meanwhile may have told it, too. */
  function expecting(id: string, { closed }: Remote): () => boolean {
    return sessions.get(closed)?.expect(id) ?? (() => sessions.has(closed))
  }

  return {
    name: 'monitor client',

    async request(ctx, req, next) {
      const listener = valueOf(ctx, nextHopListener)
      if (listener === undefined) return next.request(ctx, req)
      const remote = remoteOfCall(ctx)
      const lostMeanwhile = expecting(connectionOf(req).id, remote)
      const conn = await next.request(ctx, req).catch((err: unknown) => {
        lostMeanwhile()
        throw err
      })
      const look = lostMeanwhile()
      const stop = watchOf(ctx, remote).add(conn, listener)
      unwatch(conn.id)
      watches.set(conn.id, stop)
      const tell = (told: Connection): void => {
        if (watches.get(conn.id) === stop) listener.told(told)
      }
      if (look) void lookAgain(ctx, remote, conn, tell)
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

/** Tells how the connection is at the next hop now; one that is not there is DOWN. Never rejects: a stream that breaks tells by itself. */
async function lookAgain(
  { log, clock }: Ctx,
  remote: Remote,
  conn: Connection,
  tell: (told: Connection) => void,
): Promise<void> {
  try {
    const told = await withTimeout(background({ log, clock }), lookMs, (ctx) => firstTold(ctx, remote, conn))
    tell(told ?? { ...conn, state: State.DOWN })
  } catch (err) {
    log.debug({ connection_id: conn.id, err: String(err) }, 'next hop does not say how a connection is')
  }
}
