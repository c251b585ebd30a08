import type { Element } from '../chain.ts'
import { withTimeout, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { sleep } from '../sleep.ts'

export interface RetryOptions {
  /** For each try; default 15 s. */
  readonly tryTimeoutMs?: number
  /** Between tries; default 200 ms. */
  readonly intervalMs?: number
}

/**
 * Tries each call until it succeeds or the caller gives up (§4.1): waiting for an endpoint to appear is the client's part.
 * Rejects with the error of the last try.
 */
export function retry(options: RetryOptions = {}): Element {
  const { tryTimeoutMs = 15_000, intervalMs = 200 } = options

  async function untilSuccess<T>(
    ctx: Ctx,
    id: string | undefined,
    call: (ctx: Ctx) => Promise<T>,
  ): Promise<T> {
    for (;;) {
      try {
        return await withTimeout(ctx, tryTimeoutMs, call)
      } catch (err) {
        if (ctx.signal.aborted) throw err
        ctx.log.info({ connection_id: id, err: NsmError.from(err).message }, 'trying again')
        await sleep(ctx, intervalMs).catch(() => {
          throw err
        })
      }
    }
  }

  return {
    name: 'retry',
    request: (ctx, req, next) => untilSuccess(ctx, req.connection?.id, (timed) => next.request(timed, req)),
    close: (ctx, conn, next) => untilSuccess(ctx, conn.id, (timed) => next.close(timed, conn)),
  }
}
