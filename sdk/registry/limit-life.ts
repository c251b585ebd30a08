import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { NetworkServiceEndpointElement } from '../registry-chain.ts'
import { ownTokenExpires } from './update-path.ts'

/** Default life of a registration (§5.5). */
export const defaultPeriodMs = 60_000

/** Limits the life of a registration as `expire` does; what ends is left to the store. */
export function limitLife(options: { periodMs?: number } = {}): NetworkServiceEndpointElement {
  const { periodMs = defaultPeriodMs } = options
  return {
    name: 'limitlife',
    async register(ctx, endpoint, next) {
      const expirationTime = new Date(limitedLife(ctx, endpoint, periodMs))
      const answer = await next.register(ctx, { ...endpoint, expirationTime })
      return { ...answer, expirationTime }
    },
  }
}

/** When a registration ends that is made now, in milliseconds since the epoch. @throws NsmError INVALID_ARGUMENT for a time that is over or is none. */
export function limitedLife(ctx: Ctx, endpoint: NetworkServiceEndpoint, periodMs: number): number {
  const now = ctx.clock.now()
  const asked = endpoint.expirationTime?.getTime() ?? Infinity
  if (Number.isNaN(asked))
    throw new NsmError('INVALID_ARGUMENT', `expiration_time of ${endpoint.name} is not a time`)
  if (asked <= now)
    throw new NsmError(
      'INVALID_ARGUMENT',
      `expiration_time ${new Date(asked).toISOString()} of ${endpoint.name} is over, leave it out or choose a later one`,
    )
  return Math.min(asked, valueOf(ctx, ownTokenExpires)?.getTime() ?? Infinity, now + periodMs)
}
