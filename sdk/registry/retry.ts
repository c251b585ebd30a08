import { withTimeout, type Ctx } from '../ctx.ts'
import { NsmError, type Code } from '../errors.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import { sleep } from '../sleep.ts'

export interface RetryOptions {
  /** Time for one try; default 15 s (§4.1). */
  readonly tryTimeoutMs?: number
  /** Pause between two tries; default 200 ms (§4.1). */
  readonly pauseMs?: number
}

/** Codes that another try would only meet again. */
const final: ReadonlySet<Code> = new Set(['INVALID_ARGUMENT', 'UNIMPLEMENTED'])

/** Repeats Register and Unregister until they succeed or the call ends (§4.1); what never can succeed is answered at once. */
export function retry<Item extends RegistryItem, Query, Response>(
  options: RetryOptions = {},
): RegistryElement<Item, Query, Response> {
  const { tryTimeoutMs = 15_000, pauseMs = 200 } = options

  async function repeat<T>(ctx: Ctx, run: (ctx: Ctx) => Promise<T>): Promise<T> {
    let last: NsmError | undefined
    for (;;) {
      try {
        return await withTimeout(ctx, tryTimeoutMs, run)
      } catch (reason) {
        const err = NsmError.from(reason)
        // A try that the caller's own end cut short says less than the one before.
        if (ctx.signal.aborted) throw last ?? err
        if (final.has(err.code)) throw err
        // Each fault once: nobody wants to read the same one five times a second, nor not at all.
        const level = err.message === last?.message ? 'debug' : 'warn'
        ctx.log[level]({ code: err.code, err: err.message }, 'registry call failed, trying again')
        last = err
      }
      await sleep(ctx, pauseMs).catch(() => {
        throw last
      })
    }
  }

  return {
    name: 'retry',
    register: async (ctx, item, next) => repeat(ctx, (inner) => next.register(inner, item)),
    unregister: async (ctx, item, next) => repeat(ctx, (inner) => next.unregister(inner, item)),
  }
}
