import { DNSConfig, DNSContext } from '@nsm/api/gen/connectioncontext.js'
import { connectionOf, type Element } from '../chain.ts'
import { withContext } from '../connection-context.ts'

/** Hands out DNS configurations to clients (wire contract §9.1), behind those that other endpoints on the way gave. */
export function dnsContext(configs: readonly DNSConfig[]): Element {
  return {
    name: 'dns context',
    request(ctx, req, next) {
      const conn = connectionOf(req)
      const before = conn.context?.dnsContext ?? DNSContext.fromPartial({})
      const added = configs.filter((config) => !before.configs.some((known) => isSame(known, config)))
      if (added.length === 0) return next.request(ctx, req)
      const extended = { ...before, configs: [...before.configs, ...added] }
      return next.request(ctx, { ...req, connection: withContext(conn, { dnsContext: extended }) })
    },
  }
}

function isSame(a: DNSConfig, b: DNSConfig): boolean {
  return DNSConfig.encode(a).finish().join() === DNSConfig.encode(b).finish().join()
}
