import { isIP } from 'node:net'
import type { DNSConfig } from '@nsm/api/gen/connectioncontext.js'

/** Servers that know the names of one zone; the longest zone that a name ends in decides. */
export interface Zone {
  /** Lower case, with the final dot; `.` holds what no other zone does. */
  readonly domain: string
  /** Addresses without port, in order of first appearance; never empty. */
  readonly servers: readonly string[]
}

/** What the pod's names are resolved from, made of the cluster's resolvers and of every connection's DNS configs. */
export interface DnsView {
  /** Longest domain first, `.` last; equal lengths in alphabetical order. */
  readonly zones: readonly Zone[]
  /** The cluster's search list, then the services' domains; each once. */
  readonly search: readonly string[]
}

/** What the pod had before: the cluster's resolvers and its search list. */
export interface Origin {
  readonly servers: readonly string[]
  readonly search: readonly string[]
}

/** One server may stand for many services: CoreDNS takes at most 100 in one block. */
export const maxServers = 100
const maxSearchDomains = 32

/**
 * Merges the DNS configs of all connections with what the pod had. Services that share a domain share its servers.
 * Text that is no address or no domain is left out: a peer's mistake must not cost the other names.
 */
export function dnsView(
  origin: Origin,
  configs: Iterable<readonly DNSConfig[]>,
  own: ReadonlySet<string> = new Set(),
): DnsView {
  const zones = new Map<string, Set<string>>([['.', new Set(usable(origin.servers, own))]])
  const search = new Set(origin.search)
  for (const config of [...configs].flat()) {
    const servers = usable(config.dnsServerIps, own)
    const domains = config.searchDomains.map(domainName).filter((name) => name !== undefined)
    for (const domain of ['.', ...domains]) {
      const all = [...(zones.get(domain) ?? []), ...servers]
      zones.set(domain, new Set(all.slice(0, maxServers)))
    }
    for (const domain of domains) if (search.size < maxSearchDomains) search.add(domain.slice(0, -1))
  }
  return {
    zones: [...zones]
      .filter(([, servers]) => servers.size > 0)
      .map(([domain, servers]) => ({ domain, servers: [...servers] }))
      .toSorted((a, b) => b.domain.length - a.domain.length || (a.domain < b.domain ? -1 : 1)),
    search: [...search],
  }
}

/** The zone that answers for a name, given in lower case with its final dot. */
export function zoneFor(view: DnsView, name: string): Zone | undefined {
  return view.zones.find(({ domain }) => domain === '.' || name === domain || name.endsWith(`.${domain}`))
}

/** A domain in lower case with its final dot; undefined when it is none (RFC 1035 §2.3.4, with `_` as in SRV names). */
export function domainName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '')
  if (name === '' || name.length > 253) return undefined
  return name.split('.').every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))
    ? `${name}.`
    : undefined
}

function usable(servers: readonly string[], own: ReadonlySet<string>): string[] {
  return servers.filter((server) => isIP(server) !== 0 && !own.has(server))
}
