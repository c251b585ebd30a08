import { connectionOf, type Element } from '@nsm/sdk/chain.js'
import { withContext } from '@nsm/sdk/connection-context.js'
import type { PodDns } from './dns/pod-dns.ts'

/**
 * Gives the pod the names that each connection's answer brings, and takes them back when it is closed, or closed to be made
 * anew elsewhere (wire contract §9.2). Requests carry none: those of an endpoint that has gone would be kept by the next one.
 */
export function keepNames(dns: Pick<PodDns, 'set'>): Element {
  return {
    name: 'keep names',

    async request(ctx, req, next) {
      const asked = connectionOf(req)
      const connection =
        asked.context?.dnsContext === undefined ? asked : withContext(asked, { dnsContext: undefined })
      const answer = await next.request(ctx, { ...req, connection })
      await dns.set(asked.id, answer.context?.dnsContext?.configs ?? [])
      return answer
    },

    async close(ctx, conn, next) {
      await dns.set(conn.id, [])
      await next.close(ctx, conn)
    },
  }
}
