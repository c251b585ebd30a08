import type { Connection } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'
import { timeLeft, valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { connectionEvents } from './begin.ts'

/** What an element that may outlive its process' chain must have done at the end. */
export interface TimeoutElement extends Element {
  /** Stops all timers; nothing is closed. */
  stop(): void
}

/** Time left for the Close when the caller had no deadline. */
const defaultMarginMs = 15_000

/**
 * Closes a connection whose client has stopped refreshing it, as if the client had closed it (§4.1).
 *
 * Fires when the previous segment's token expires, less the time that the caller's deadline left: tokens must still live while
 * the Close goes down the path. That margin is at most half of the token's life.
 * @throws NsmError INVALID_ARGUMENT when the previous segment has no expiry
 */
export function timeout(): TimeoutElement {
  const timers = new Map<string, () => void>()

  function disarm(id: string): void {
    timers.get(id)?.()
    timers.delete(id)
  }

  function arm(ctx: Ctx, id: string, delayMs: number): void {
    disarm(id)
    const events = valueOf(ctx, connectionEvents)
    const cancel = ctx.clock.after(delayMs, () => {
      events?.close({ when: () => timers.get(id) === cancel }).catch((err: unknown) => {
        ctx.log.warn({ connection_id: id, err: String(err) }, 'close after time-out failed')
      })
    })
    timers.set(id, cancel)
  }

  return {
    name: 'timeout',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const marginMs = timeLeft(ctx) || defaultMarginMs
      const expires = expiryOfCaller(conn)
      const answer = await next.request(ctx, req)
      if (expires !== undefined) {
        const lifeMs = Math.max(0, expires.getTime() - ctx.clock.now())
        arm(ctx, conn.id, lifeMs - Math.min(marginMs, lifeMs / 2))
      }
      return answer
    },

    async close(ctx, conn, next) {
      disarm(conn.id)
      await next.close(ctx, conn)
    },

    stop() {
      for (const id of timers.keys()) disarm(id)
    },
  }
}

/** Undefined for the first one on the path: nobody is before it. */
function expiryOfCaller({ path }: Connection): Date | undefined {
  if (path === undefined || path.index === 0) return undefined
  const expires = path.pathSegments[path.index - 1]?.expires
  if (expires === undefined || Number.isNaN(expires.getTime())) {
    throw new NsmError('INVALID_ARGUMENT', `path segment ${path.index - 1} has no expiry`)
  }
  return expires
}
