import { timeLeft, valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { NetworkServiceEndpointElement } from '../registry-chain.ts'
import { registrationEvents } from './begin.ts'
import { defaultPeriodMs, limitedLife } from './limit-life.ts'
import { taskQueue } from './task-queue.ts'

/** How many registrations are taken away at one time when many end together. */
const concurrency = 16

/**
 * Limits the life of a registration to what was asked, to the life of the own token and to `periodMs` from now, and
 * unregisters it when that is over (§5.5). As upstream does, it acts earlier by what time the last caller had left,
 * here at most by a quarter of the life. Needs `begin` before it.
 */
export function expire(options: { periodMs?: number } = {}): NetworkServiceEndpointElement {
  const { periodMs = defaultPeriodMs } = options
  const timers = new Map<string, () => void>()
  const removals = taskQueue(concurrency)

  function stop(name: string): void {
    timers.get(name)?.()
    timers.delete(name)
  }

  function arm(ctx: Ctx, name: string, endsAtMs: number): void {
    // The timer keeps no more of the call than this: there may be a hundred thousand.
    const { log } = ctx
    const events = valueOf(ctx, registrationEvents)
    if (events === undefined) throw new NsmError('INTERNAL', 'the chain has no begin element before expire')
    const lifeMs = Math.max(0, endsAtMs - ctx.clock.now())
    const leadMs = Math.min(timeLeft(ctx) ?? 0, lifeMs / 4)
    const disarm = ctx.clock.after(lifeMs - leadMs, () => {
      removals.add(() =>
        events
          .unregister(() => timers.get(name) === disarm)
          .catch((err: unknown) => log.warn({ name, err: String(err) }, 'expired endpoint not unregistered')),
      )
    })
    timers.set(name, disarm)
  }

  return {
    name: 'expire',

    async register(ctx, endpoint, next) {
      const expirationTime = new Date(limitedLife(ctx, endpoint, periodMs))
      const armed = timers.get(endpoint.name)
      const answer = await next.register(ctx, { ...endpoint, expirationTime })
      if (timers.get(endpoint.name) === armed) stop(endpoint.name)
      const told = answer.expirationTime?.getTime() ?? Infinity
      const endsAtMs = Math.min(expirationTime.getTime(), Number.isNaN(told) ? Infinity : told)
      arm(ctx, endpoint.name, endsAtMs)
      return { ...answer, expirationTime: new Date(endsAtMs) }
    },

    async unregister(ctx, endpoint, next) {
      stop(endpoint.name)
      await next.unregister(ctx, endpoint)
    },
  }
}
