import type { Ctx } from '../ctx.ts'
import { NsmError, type Code } from '../errors.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'

/** One Register or Unregister that has ended. */
export interface RegistryOutcome {
  /** `network service` or `network service endpoint`. */
  readonly what: string
  readonly call: 'register' | 'unregister'
  readonly code: Code
  readonly ms: number
}

/** Logs how each Register and Unregister ended, and tells `observe`. Refusals and faults are warnings, the rest is for debugging. */
export function logOutcome<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  observe: (outcome: RegistryOutcome) => void = () => undefined,
): RegistryElement<Item, Query, Response> {
  async function observed<T>(
    ctx: Ctx,
    item: Item,
    call: RegistryOutcome['call'],
    run: () => Promise<T>,
  ): Promise<T> {
    const started = ctx.clock.monotonic()
    const end = (code: Code, err?: string): void => {
      const ms = ctx.clock.monotonic() - started
      const fields = {
        name: item.name,
        spiffe_id: ctx.peer?.spiffeId,
        code,
        ms: Math.round(ms * 10) / 10,
        ...(err !== undefined && { err }),
      }
      ctx.log[err === undefined ? 'debug' : 'warn'](fields, `${call} ${kind.what}`)
      observe({ what: kind.what, call, code, ms })
    }
    try {
      const answer = await run()
      end('OK')
      return answer
    } catch (reason) {
      const err = NsmError.from(reason)
      end(err.code, err.message)
      throw err
    }
  }

  return {
    name: 'logoutcome',
    register: async (ctx, item, next) => observed(ctx, item, 'register', () => next.register(ctx, item)),
    unregister: async (ctx, item, next) =>
      observed(ctx, item, 'unregister', () => next.unregister(ctx, item)),
  }
}
