import { readFile } from 'node:fs/promises'

/** How the cluster resolves names, as its pods are told. */
export interface ClusterDns {
  /** Addresses of its resolvers; empty = not known. */
  readonly servers: readonly string[]
  /** As `cluster.local`. */
  readonly domain: string
  /** Search domains of the nodes, which every pod has behind the cluster's. */
  readonly nodeSearch: readonly string[]
}

/** Reads it from the resolv.conf of a pod (this one): the three domains of the cluster come first there, then the nodes'. */
export function clusterDnsOf(text: string, domain: string): ClusterDns {
  const words = text.split('\n').map((line) => line.trim().split(/\s+/))
  const servers = words.flatMap(([keyword, server]) =>
    keyword === 'nameserver' && server !== undefined ? [server] : [],
  )
  const search = (words.findLast(([keyword]) => keyword === 'search') ?? []).slice(1)
  const isClusters = (name: string): boolean => name === domain || name.endsWith(`.${domain}`)
  const isPod = search.some(isClusters)
  return { servers: isPod ? servers : [], domain, nodeSearch: search.filter((name) => !isClusters(name)) }
}

/** What this process' own pod was told; `given` servers count instead. */
export async function ownClusterDns(domain: string, given: readonly string[]): Promise<ClusterDns> {
  const found = clusterDnsOf(await readFile('/etc/resolv.conf', 'utf8').catch(() => ''), domain)
  return given.length === 0 ? found : { ...found, servers: given }
}
