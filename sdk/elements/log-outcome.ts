import type { Connection } from '@nsm/api/gen/connection.js'
import type { Element } from '../chain.ts'
import type { Ctx } from '../ctx.ts'
import { NsmError, type Code } from '../errors.ts'

/** How one call ended. */
export interface Outcome {
  readonly operation: 'request' | 'close'
  /** Name of the Network Service. */
  readonly service: string
  readonly code: Code
  readonly ms: number
}

/** Writes one line for each Request and Close that ends, and tells `observe` of it. */
export function logOutcome(observe: (outcome: Outcome) => void = () => undefined): Element {
  async function watched<T>(
    ctx: Ctx,
    conn: Connection | undefined,
    operation: Outcome['operation'],
    call: () => Promise<T>,
  ): Promise<T> {
    const start = ctx.clock.now()
    const service = conn?.networkService ?? ''
    const fields = {
      connection_id: conn?.id,
      network_service: service,
      ...(ctx.peer !== undefined && { spiffe_id: ctx.peer.spiffeId }),
    }
    try {
      const result = await call()
      const ms = ctx.clock.now() - start
      ctx.log.info({ ...fields, code: 'OK', ms }, operation)
      observe({ operation, service, code: 'OK', ms })
      return result
    } catch (reason) {
      const err = NsmError.from(reason)
      const ms = ctx.clock.now() - start
      ctx.log.warn({ ...fields, code: err.code, ms, err: err.message }, `${operation} failed`)
      observe({ operation, service, code: err.code, ms })
      throw reason
    }
  }

  return {
    name: 'log outcome',
    request: (ctx, req, next) => watched(ctx, req.connection, 'request', () => next.request(ctx, req)),
    close: (ctx, conn, next) => watched(ctx, conn, 'close', () => next.close(ctx, conn)),
  }
}
