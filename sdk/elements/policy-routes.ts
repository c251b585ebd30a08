import type { IPContext, PolicyRoute } from '@nsm/api/gen/connectioncontext.js'
import { connectionOf, type Element } from '../chain.ts'
import { ipContextOf, withContext } from '../connection-context.ts'
import { formatPrefix, isHost, parsePrefix } from '../net/prefix.ts'

/**
 * Hands out policy routes to clients (wire contract §6.2), in place of those that came; asked for anew each time.
 * What a policy is from becomes an address of the client's, as with upstream's endpoints: packets can be sent from
 * local addresses only.
 *
 * Stands before the IPAM, which does not get to see those addresses.
 */
export function policyRoutes(policies: () => readonly PolicyRoute[]): Element {
  return {
    name: 'policy routes',
    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const wanted = [...policies()]
      const asked = ipContextOf(conn)
      const ipContext = { ...asked, srcIpAddrs: withoutSources(asked, wanted), policies: wanted }
      const answer = await next.request(ctx, { ...req, connection: withContext(conn, { ipContext }) })
      const given = ipContextOf(answer)
      const sources = new Set(sourcesOf(wanted))
      const [first, ...others] = given.srcIpAddrs
      const srcIpAddrs = [
        ...new Set([
          ...(first === undefined ? [] : [first]),
          ...others.filter((text) => !sources.has(text)),
          ...sources,
        ]),
      ]
      return withContext(answer, { ipContext: { ...given, srcIpAddrs, policies: wanted } })
    },
  }
}

/** The addresses that were not there for a policy. A whole address may be the IPAM's as well: it stays while a policy has it. */
function withoutSources({ srcIpAddrs, policies }: IPContext, wanted: readonly PolicyRoute[]): string[] {
  const old = new Set(sourcesOf(policies))
  const still = new Set(sourcesOf(wanted))
  return srcIpAddrs.filter((text, at) => {
    const prefix = parsePrefix(text)
    if (prefix === undefined) return true
    const normal = formatPrefix(prefix)
    if (!isHost(prefix)) return !old.has(normal) && !still.has(normal)
    // The IPAM's come first.
    return at === 0 || !old.has(normal) || still.has(normal)
  })
}

function sourcesOf(policies: readonly PolicyRoute[]): string[] {
  return policies.flatMap(({ from }) => {
    const prefix = parsePrefix(from)
    return prefix === undefined || prefix.length === 0 ? [] : [formatPrefix(prefix)]
  })
}
