import { detached, key, timeLeft, valueOf, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Registry, RegistryElement, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'
import { registryPath } from './registry-path.ts'
import { turns } from './turns.ts'

/** Calls of one registration that elements behind `begin` make by themselves, in turn with its other calls and without a caller. */
export interface RegistrationEvents {
  /** Registers again what was answered last; nothing when it has been unregistered. */
  register(): Promise<void>
  /** Unregisters. `still` is asked when the turn has come: false = leave it. */
  unregister(still?: () => boolean): Promise<void>
}

export const registrationEvents: Key<RegistrationEvents> = key('registration events')

export interface BeginOptions {
  /** Registrations known at one time. */
  readonly maxNames?: number
  /** Calls that may wait for one name. */
  readonly maxWaiting?: number
  /** What of a call is kept for calls without a caller: all of it, unless elements behind need less. */
  readonly keep?: (ctx: Ctx) => Ctx
}

interface Known<Item> {
  readonly item: Item
  readonly ctx: Ctx
  readonly budgetMs: number
}

/** Budget of a call without a caller, if the last caller set none or next to none. */
const defaultBudgetMs = 15_000
const minBudgetMs = 1000

/**
 * Runs the calls of one name one after another and remembers the last answer (§5.4).
 * Unregister goes on with the remembered object, or with the given one when there is none.
 */
export function begin<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  options: BeginOptions = {},
): RegistryElement<Item, Query, Response> {
  const { maxNames = 200_000, maxWaiting = 64, keep = (ctx: Ctx): Ctx => ctx } = options
  const known = new Map<string, Known<Item>>()
  const queue = turns(maxWaiting)

  async function register(ctx: Ctx, item: Item, next: Registry<Item, Query, Response>): Promise<Item> {
    const { name } = item
    const budgetMs = Math.max(minBudgetMs, timeLeft(ctx) ?? defaultBudgetMs)
    const events: RegistrationEvents = {
      register: () =>
        queue.run(name, undefined, async () => {
          const last = known.get(name)
          if (last !== undefined) await register(detached(last.ctx, last.budgetMs), last.item, next)
        }),
      unregister: (still = () => true) =>
        queue.run(name, undefined, async () => {
          const last = known.get(name)
          if (last === undefined || !still()) return
          known.delete(name)
          await next.unregister(detached(last.ctx, last.budgetMs), last.item)
        }),
    }
    const answer = await next.register(withValue(ctx, registrationEvents, events), item)
    known.set(name, { item: kind.renewal({ ...answer, name }), ctx: keep(withOwnPath(ctx)), budgetMs })
    return answer
  }

  function checkName(item: Item): void {
    if (item.name === '') throw new NsmError('INVALID_ARGUMENT', `${kind.what} has an empty name`)
  }

  return {
    name: 'begin',

    async register(ctx, item, next) {
      checkName(item)
      return queue.run(item.name, ctx.signal, async () => {
        if (!known.has(item.name) && known.size >= maxNames)
          throw new NsmError(
            'RESOURCE_EXHAUSTED',
            `${known.size} ${kind.what}s are registered, no more are allowed`,
          )
        return register(ctx, item, next)
      })
    },

    async unregister(ctx, item, next) {
      checkName(item)
      await queue.run(item.name, ctx.signal, async () => {
        const last = known.get(item.name)
        known.delete(item.name)
        const pathIds = item.pathIds.length > 0 ? item.pathIds : (last?.item.pathIds ?? [])
        await next.unregister(ctx, { ...(last?.item ?? item), pathIds })
      })
    },
  }
}

/** The path as it is at this hop: the call's own is the caller's again once it has been answered. */
function withOwnPath(ctx: Ctx): Ctx {
  const cell = valueOf(ctx, registryPath)
  return cell === undefined ? ctx : withValue(ctx, registryPath, { ...cell })
}
