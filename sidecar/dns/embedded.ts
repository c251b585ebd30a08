import { resolver } from '@nsm/sdk/dns/resolver.js'
import { dnsServer, type DnsServer } from '@nsm/sdk/dns/server.js'
import type { DnsView } from '@nsm/sdk/dns/view.js'
import type { QueryStats } from './query-stats.ts'
import type { DnsServerStatus } from './status.ts'

/** Where the resolver listens. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** The resolver of this process, on the loopback addresses of the pod. */
export interface EmbeddedDns {
  setView(view: DnsView): void
  servers(): readonly DnsServerStatus[]
  readonly cached: number
  close(): Promise<void>
}

export interface EmbeddedOptions {
  readonly listenOn: ListenAddress
  readonly timeoutMs: number
  /** Port of the servers that are asked. */
  readonly serverPort: number
  /** See `resolver`: 0 where the C library has the services' domains in its own search list. */
  readonly searchBelowDots: number
  readonly searchedBefore: readonly string[]
}

/** Of a pod without IPv6. */
const noSuchAddress: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT'])

/** Starts listening, on `[::1]` too when the address is 127.0.0.1. Rejects when the port is taken or not allowed. */
export async function startEmbeddedDns(
  view: DnsView,
  options: EmbeddedOptions,
  stats: QueryStats,
): Promise<EmbeddedDns> {
  const { listenOn, timeoutMs, serverPort, searchBelowDots, searchedBefore } = options
  const names = resolver(view, { port: serverPort, timeoutMs, searchBelowDots, searchedBefore })
  const hosts = listenOn.host === '127.0.0.1' ? ['127.0.0.1', '::1'] : [listenOn.host]
  const listening: DnsServer[] = []
  const close = async (): Promise<void> => {
    await Promise.all(listening.map((server) => server.close()))
    names.close()
  }
  try {
    for (const host of hosts) {
      const server = await dnsServer(host, listenOn.port, async (query, signal) => {
        const began = performance.now()
        const resolution = await names.resolve(query, signal)
        stats.add(resolution, performance.now() - began)
        return resolution.reply
      }).catch((err: NodeJS.ErrnoException) => {
        if (host === '::1' && noSuchAddress.has(err.code ?? '')) return undefined
        throw err
      })
      if (server !== undefined) listening.push(server)
    }
  } catch (err) {
    await close()
    throw err
  }
  return {
    setView: (next) => names.setView(next),
    servers: () =>
      names.servers().map(({ address, health }) => ({
        address,
        answered: health.answered,
        won: health.won,
        failed: health.failed,
        lastError: health.lastError ?? null,
        lastErrorAt: health.lastErrorAt === undefined ? null : new Date(health.lastErrorAt).toISOString(),
      })),
    get cached() {
      return names.cached
    },
    close,
  }
}
