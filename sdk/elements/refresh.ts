import type { Path } from '@nsm/api/gen/connection.js'
import type { Element } from '../chain.ts'
import { valueOf } from '../ctx.ts'
import { sleep } from '../sleep.ts'
import { connectionEvents } from './begin.ts'
import { connectionLoops } from './connection-loops.ts'

export interface RefreshElement extends Element {
  /** Stops all refreshing. */
  stop(): void
}

/** Between two tries of a refresh that fails, and between refreshes at least: tokens that hardly live come again each time. */
const retryMs = 200

/** Asks again for each connection of an end client before any token on its path expires (§4.1). */
export function refresh(): RefreshElement {
  const loops = connectionLoops(() => undefined)

  return {
    name: 'refresh',

    async request(ctx, req, next) {
      const conn = await next.request(ctx, req)
      const events = valueOf(ctx, connectionEvents)
      const delayMs = refreshDelay(conn.path, ctx.clock.now())
      if (events === undefined || delayMs === undefined) return conn
      const { clock, log } = ctx
      const pauseMs = loops.has(conn.id) ? Math.max(delayMs, retryMs) : delayMs

      loops.start(conn.id, async (loop) => {
        await sleep({ clock, signal: loop.signal }, pauseMs)
        while (loop.current()) {
          try {
            await events.request(loop.event)
            return
          } catch (err) {
            if (!loop.current()) return
            log.warn({ connection_id: conn.id, err: String(err) }, 'refresh failed')
            await sleep({ clock, signal: loop.signal }, retryMs)
          }
        }
      })
      return conn
    },

    async close(ctx, conn, next) {
      loops.stop(conn.id)
      await next.close(ctx, conn)
    },

    stop: loops.stopAll,
  }
}

/**
 * Milliseconds until the refresh: a share of the shortest life on the path that grows with the own index, so that hops behind each other
 * do not ask at one time (§4.1). Undefined when nothing on the path expires.
 */
export function refreshDelay(path: Path | undefined, nowMs: number): number | undefined {
  const lives = path?.pathSegments.flatMap(({ expires }) =>
    expires === undefined ? [] : [expires.getTime() - nowMs],
  )
  if (path === undefined || lives === undefined || lives.length === 0) return undefined
  const shortestMs = Math.min(...lives)
  if (shortestMs <= 0) return 0
  const { length } = path.pathSegments
  return length === 1 ? shortestMs / 3 : (shortestMs * (1 + path.index / length)) / 5
}
