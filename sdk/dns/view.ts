import type { DNSConfig } from '@nsm/api/gen/connectioncontext.js'
import { formatAddress, parseAddress } from '../net/prefix.ts'

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
/** Of all connections together; the cluster's is the first. */
const maxZones = 1_000

/**
 * Merges the DNS configs of all connections with what the pod had. Services that share a domain share its servers; a domain
 * that the cluster may know names of too is asked of both. Text that is no address or no domain is left out: a peer's
 * mistake must not cost the other names.
 *
 * @param isOwn whether this resolver itself answers at an address: it is never asked
 */
export function dnsView(
  origin: Origin,
  configs: Iterable<readonly DNSConfig[]>,
  isOwn: (address: string) => boolean = () => false,
): DnsView {
  const cluster = usable(origin.servers, isOwn)
  const zones = new Map<string, Set<string>>([['.', new Set(cluster)]])
  const search = new Set(origin.search)
  for (const { dnsServerIps, searchDomains } of [...configs].flat()) {
    const servers = usable(dnsServerIps, isOwn)
    const domains = searchDomains.map(domainName).filter((name) => name !== undefined)
    for (const domain of ['.', ...domains]) {
      const known = zones.get(domain) ?? (isShared(domain, origin.search) ? cluster : [])
      zones.set(domain, new Set([...known, ...servers].slice(0, maxServers)))
    }
    for (const domain of domains) if (search.size < maxSearchDomains) search.add(domain.slice(0, -1))
  }
  return {
    zones: [...zones]
      .filter(([, servers]) => servers.size > 0)
      .slice(0, maxZones)
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

/** Whether the cluster may have names there: its own domains, those above and below them, and top-level ones. */
function isShared(domain: string, search: readonly string[]): boolean {
  if (domain.indexOf('.') === domain.length - 1) return true
  return search.some((own) => `${own}.`.endsWith(`.${domain}`) || `.${domain}`.endsWith(`.${own}.`))
}

/** In one spelling each; never an address that is nobody's, everybody's or this resolver's own. */
function usable(servers: readonly string[], isOwn: (address: string) => boolean): string[] {
  return servers.flatMap((text) => {
    const address = parseAddress(text)
    if (address === undefined || address.value === 0n) return []
    const server = formatAddress(address)
    return isOwn(server) ? [] : [server]
  })
}
