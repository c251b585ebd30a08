import { DNSConfig } from '@nsm/api/gen/connectioncontext.js'
import { parseAddress } from '@nsm/sdk/net/prefix.js'
import * as v from 'valibot'

const domain =
  /^(?=.{1,253}\.?$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i
const configs = v.array(
  v.strictObject({
    dns_server_ips: v.optional(
      v.array(
        v.pipe(
          v.string(),
          v.check((text) => parseAddress(text) !== undefined, 'is no address'),
        ),
      ),
      [],
    ),
    search_domains: v.optional(v.array(v.pipe(v.string(), v.regex(domain, 'is no domain name'))), []),
  }),
)

/** Reads NSM_DNS_CONFIGS (wire contract §7.2). @throws Error "must …" */
export function parseDnsConfigs(text: string): DNSConfig[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('must be a JSON list')
  }
  const result = v.safeParse(configs, value)
  if (!result.success) {
    const [issue] = result.issues
    const place = v.getDotPath(issue) ?? 'it'
    throw new Error(
      `must be a JSON list of {"dns_server_ips":[…],"search_domains":[…]}; ${place}: ${issue.message}`,
    )
  }
  return result.output.map(({ dns_server_ips, search_domains }) =>
    DNSConfig.fromPartial({ dnsServerIps: dns_server_ips, searchDomains: search_domains }),
  )
}
