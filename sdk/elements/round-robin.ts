import type { Connection } from '@nsm/api/gen/connection.js'
import { LRUCache } from 'lru-cache'
import { connectionOf, type Element } from '../chain.ts'
import { valueOf, withValue } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { clientUrl } from './client-url.ts'
import { candidates } from './discover.ts'

const maxServices = 10_000
/** Failures that are told one by one. */
const maxReasons = 8

/**
 * Chooses among the candidates that `discover` left, in turn for each service, and goes on to the next one when one fails,
 * each at most once (§5.3). Requests whose endpoint is known already pass.
 */
export function roundRobin(): Element {
  const counters = new LRUCache<string, number>({ max: maxServices })

  return {
    name: 'roundrobin',

    async request(ctx, req, next): Promise<Connection> {
      const found = valueOf(ctx, candidates)
      if (found === undefined) return next.request(ctx, req)
      const { name: service } = found.networkService
      const reasons: string[] = []
      let last: NsmError | undefined
      for (const _ of found.endpoints) {
        const counter = counters.get(service) ?? 0
        const endpoint = found.endpoints[counter % found.endpoints.length]
        if (endpoint === undefined || ctx.signal.aborted) break
        counters.set(service, (counter + 1) % Number.MAX_SAFE_INTEGER)
        const connection = { ...connectionOf(req), networkServiceEndpointName: endpoint.name }
        try {
          return await next.request(withValue(ctx, clientUrl, endpoint.url), { ...req, connection })
        } catch (reason) {
          last = NsmError.from(reason)
          reasons.push(`${endpoint.name}: ${last.message}`)
        }
      }
      if (last === undefined) throw NsmError.from(ctx.signal.reason)
      throw new NsmError(last.code, told(service, reasons), { cause: last })
    },
  }
}

function told(service: string, reasons: readonly string[]): string {
  const more = reasons.length > maxReasons ? ` and ${reasons.length - maxReasons} more` : ''
  return `no endpoint of ${service} accepted the request: ${reasons.slice(0, maxReasons).join('; ')}${more}`
}
