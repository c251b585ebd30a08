import { valueOf, withCancel, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Registry, RegistryElement, RegistryItem } from '../registry-chain.ts'
import { sleep } from '../sleep.ts'
import { registrationEvents, type RegistrationEvents } from './begin.ts'
import type { RegistryKind } from './kind.ts'

export interface HealOptions {
  /** Ends all watches. */
  readonly signal: AbortSignal
  /** 0 ≤ x < 1; makes each pause up to twice as long, so that many clients do not come back at one time. */
  readonly random?: () => number
}

/** Pauses before registering again; the first one doubles while watches break soon after they were opened. */
const firstPauseMs = 100
const maxPauseMs = 5000
/** A watch that lived so long was a good one. */
const goodLifeMs = 10_000

/**
 * Watches each registration of its own and registers again when the watch breaks or tells that it was deleted: that is
 * how everything is back after a restart of the registry or of the nsmgr (§5.5). Needs `begin` before it.
 */
export function heal<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  options: HealOptions,
): RegistryElement<Item, Query, Response> {
  const { random = Math.random } = options
  const stops = new Map<string, () => void>()

  return {
    name: 'heal',

    async register(ctx, item, next) {
      const events = valueOf(ctx, registrationEvents)
      if (events === undefined) throw new NsmError('INTERNAL', 'the chain has no begin element before heal')
      const answer = await next.register(ctx, item)
      if (!stops.has(item.name)) {
        const controller = new AbortController()
        stops.set(item.name, () => controller.abort())
        const signal = AbortSignal.any([controller.signal, options.signal])
        const own: Own<Item, Query, Response> = { kind, name: item.name, events, next, random }
        void loop({ ...ctx, signal, deadlineMs: undefined }, own)
      }
      return answer
    },

    async unregister(ctx, item, next) {
      stops.get(item.name)?.()
      stops.delete(item.name)
      await next.unregister(ctx, item)
    },
  }
}

interface Own<Item extends RegistryItem, Query, Response> {
  readonly kind: RegistryKind<Item, Query, Response>
  readonly name: string
  readonly events: RegistrationEvents
  readonly next: Registry<Item, Query, Response>
  readonly random: () => number
}

async function loop<Item extends RegistryItem, Query, Response>(
  ctx: Ctx,
  own: Own<Item, Query, Response>,
): Promise<void> {
  let pauseMs = firstPauseMs
  while (!ctx.signal.aborted) {
    const opened = ctx.clock.monotonic()
    const reason = await watched(ctx, own)
    if (ctx.signal.aborted) return
    if (ctx.clock.monotonic() - opened >= goodLifeMs) pauseMs = firstPauseMs
    ctx.log.info({ name: own.name, reason }, `${own.kind.what} is registered again`)
    let registered = false
    while (!registered && !ctx.signal.aborted) {
      await sleep(ctx, pauseMs * (1 + own.random())).catch(() => undefined)
      pauseMs = Math.min(2 * pauseMs, maxPauseMs)
      registered = !ctx.signal.aborted && (await again(ctx, own))
    }
  }
}

/** Answers why the watch is over. */
async function watched<Item extends RegistryItem, Query, Response>(
  ctx: Ctx,
  { kind, name, next }: Own<Item, Query, Response>,
): Promise<string> {
  try {
    return await withCancel(ctx, async (inner, cancel) => {
      for await (const response of next.find(inner, kind.queryByName(name, true))) {
        if (!kind.isDeleted(response) || kind.itemOf(response)?.name !== name) continue
        cancel(new NsmError('CANCELLED', 'deleted'))
        return 'it was deleted'
      }
      return 'the watch ended'
    })
  } catch (err) {
    return NsmError.from(err).message
  }
}

async function again<Item extends RegistryItem, Query, Response>(
  ctx: Ctx,
  { kind, name, events }: Own<Item, Query, Response>,
): Promise<boolean> {
  try {
    await events.register()
    return true
  } catch (err) {
    ctx.log.warn({ name, err: String(err) }, `${kind.what} not registered again`)
    return false
  }
}
