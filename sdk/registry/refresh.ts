import { valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import { registrationEvents } from './begin.ts'
import type { RegistryKind } from './kind.ts'

export interface RefreshOptions {
  /** 0 ≤ x < 1; spreads the refreshes of many clients over a tenth of the delay. */
  readonly random?: () => number
}

/** Pauses after a refresh that failed. */
const firstPauseMs = 200
const maxPauseMs = 5000

/**
 * Registers again when two thirds of the life in the answer are over, a little earlier by chance (§5.5). One that failed is
 * repeated, with growing pauses, until a Register succeeds or the registration is gone. Needs `begin` before it.
 */
export function refresh<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  options: RefreshOptions = {},
): RegistryElement<Item, Query, Response> {
  const { random = Math.random } = options
  const timers = new Map<string, () => void>()

  function stop(name: string): void {
    timers.get(name)?.()
    timers.delete(name)
  }

  function arm(ctx: Ctx, name: string, delayMs: number, pauseMs: number): void {
    const events = valueOf(ctx, registrationEvents)
    if (events === undefined) throw new NsmError('INTERNAL', 'the chain has no begin element before refresh')
    const disarm = ctx.clock.after(delayMs, () => {
      void events.register().catch((err: unknown) => {
        ctx.log.warn({ name, err: String(err) }, 'registration not refreshed')
        if (timers.get(name) === disarm) arm(ctx, name, pauseMs, Math.min(2 * pauseMs, maxPauseMs))
      })
    })
    timers.set(name, disarm)
  }

  return {
    name: 'refresh',

    async register(ctx, item, next) {
      const answer = await next.register(ctx, item)
      stop(item.name)
      const expires = kind.expirationTime(answer)?.getTime()
      if (expires !== undefined && !Number.isNaN(expires)) {
        const lifeMs = Math.max(0, expires - ctx.clock.now())
        arm(ctx, item.name, Math.max(lifeMs * (2 / 3) * (1 - random() / 10), firstPauseMs), firstPauseMs)
      }
      return answer
    },

    async unregister(ctx, item, next) {
      stop(item.name)
      await next.unregister(ctx, item)
    },
  }
}
