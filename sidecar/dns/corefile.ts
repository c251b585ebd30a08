import type { DnsView, Zone } from '@nsm/sdk/dns/view.js'

/** What of the Corefile is the operator's choice. */
export interface CorefileOptions {
  /** Port that CoreDNS listens on, on every address of the pod: the small image has no `bind`. */
  readonly port: number
  /** Longest wait for a server, in seconds: a dead one delays every negative answer by it. */
  readonly timeoutSeconds: number
  /** Where CoreDNS serves its metrics, as `:9153`. */
  readonly metrics: string
}

export const defaultCorefileOptions: CorefileOptions = { port: 53, timeoutSeconds: 2, metrics: ':9153' }

/**
 * The Corefile for a CoreDNS with the fanout plugin: one block per set of servers, `.` last. Only directives that the
 * published image compiles in: cache, fanout, log, prometheus, reload. Equal views give equal bytes.
 *
 * Never `race`: with it the first NXDOMAIN would beat the server that knows the name.
 */
export function corefile(view: DnsView, options: CorefileOptions = defaultCorefileOptions): string {
  return blocks(view.zones)
    .map(({ domains, servers }) => block(domains, servers, options))
    .join('\n')
}

interface Block {
  readonly domains: readonly string[]
  readonly servers: readonly string[]
}

/** Domains of the same servers share a block; one zone in two blocks would be refused. */
function blocks(zones: readonly Zone[]): Block[] {
  const bySevers = new Map<string, { domains: string[]; servers: readonly string[] }>()
  for (const { domain, servers } of zones) {
    const sorted = servers.toSorted()
    const name = domain === '.' ? '.' : sorted.join(' ')
    const known = bySevers.get(name)
    if (known === undefined) bySevers.set(name, { domains: [domain], servers: sorted })
    else known.domains.push(domain)
  }
  return [...bySevers.values()].map(({ domains, servers }) => ({ domains: domains.toSorted(), servers }))
}

function block(domains: readonly string[], servers: readonly string[], options: CorefileOptions): string {
  const isRoot = domains[0] === '.'
  const names = domains.map((domain) => `${domain === '.' ? '.' : domain.slice(0, -1)}:${options.port}`)
  const lines = [
    `fanout . ${servers.map(hostPort).join(' ')} {`,
    `    timeout ${options.timeoutSeconds}s`,
    '    attempt-count 1',
    '}',
    'cache {',
    '    denial 0',
    '}',
    'log . {',
    '    class error',
    '}',
    `prometheus ${options.metrics}`,
    ...(isRoot ? ['reload 2s'] : []),
  ]
  return `${names.join(' ')} {\n${lines.map((line) => `    ${line}\n`).join('')}}\n`
}

function hostPort(server: string): string {
  return server.includes(':') ? `[${server}]:53` : `${server}:53`
}
