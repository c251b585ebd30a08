import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { DNSConfig } from '@nsm/api/gen/connectioncontext.js'
import { dnsView, type DnsView, type Origin } from '@nsm/sdk/dns/view.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Metric } from '@nsm/sdk/process/metrics-text.js'
import { corefile, type CorefileOptions } from './corefile.ts'
import { corefileFile, type CorefileFile } from './corefile-file.ts'
import type { EmbeddedDns, ListenAddress } from './embedded.ts'
import { queryStats } from './query-stats.ts'
import { ndotsOf } from '@nsm/sdk/dns/resolv-conf.js'
import { openResolvConf, type ResolvConfFile } from './resolv-conf-file.ts'
import type { DnsState, DnsStatus } from './status.ts'

export interface PodDnsOptions {
  readonly mode: 'embedded' | 'coredns'
  /** Where the pod's names are answered, by this process or by CoreDNS. */
  readonly listenOn: ListenAddress
  readonly resolvConfPath: string
  /**
   * The cluster's resolvers when the pod's own spec points its names here (`dnsPolicy: None`): nothing is written then.
   * Empty: they are those of resolv.conf, which is taken over while services bring names.
   */
  readonly clusterServers: readonly string[]
  readonly corefilePath: string
  readonly corefile: Omit<CorefileOptions, 'port' | 'timeoutSeconds'>
  /** Longest wait for one server. */
  readonly timeoutMs: number
  /** Port of the servers that are asked. */
  readonly serverPort: number
}

const messages: Readonly<Record<DnsState, string>> = {
  idle: 'no connection brings names',
  serving: 'names of services resolve',
  waiting: 'CoreDNS does not answer yet',
  failed: '',
}

/** CoreDNS starts after this process. */
const corednsRetryMs = 200
const failureRetryMs = 5_000

/** Begins to care for the pod's names: what a killed predecessor left is put right first. */
export async function openPodDns(options: PodDnsOptions, log: Logger): Promise<PodDns> {
  const dns = new PodDns(options, log, await openResolvConf(options.resolvConfPath))
  await dns.changed()
  return dns
}

/** The names of a pod: the cluster's, and those of its connections while they are up. */
export class PodDns {
  readonly metrics: readonly Metric[]
  private readonly options: PodDnsOptions
  private readonly log: Logger
  private readonly file: ResolvConfFile
  private readonly origin: Origin
  private readonly corefile: CorefileFile
  private readonly configs = new Map<string, readonly DNSConfig[]>()
  private readonly stats = queryStats()
  /** The zones without any service. */
  private readonly plain: string
  private view: DnsView
  private embedded: EmbeddedDns | undefined
  private state: DnsState = 'idle'
  private message = messages.idle
  private retry: NodeJS.Timeout | undefined
  private isChanged = false
  private isClosed = false
  private running: Promise<void> | undefined
  private closed: Promise<void> | undefined

  constructor(options: PodDnsOptions, log: Logger, file: ResolvConfFile) {
    const { nameservers, search } = file.original
    this.options = options
    this.log = log
    this.file = file
    this.origin = { servers: this.isByPodSpec ? options.clusterServers : nameservers, search }
    this.corefile = corefileFile(options.corefilePath)
    this.view = this.viewNow()
    this.plain = JSON.stringify(this.view.zones)
    this.metrics = this.stats.metrics(() => ({
      servers: this.embedded?.servers() ?? [],
      cached: this.embedded?.cached ?? 0,
    }))
  }

  /** What a connection brings; none = it has gone. Resolves when it holds, or when it is known why it can't. Never rejects. */
  async set(id: string, given: readonly DNSConfig[]): Promise<void> {
    const before = JSON.stringify(this.configs.get(id) ?? [])
    if (JSON.stringify(given) === before || this.isClosed) return
    if (given.length === 0) this.configs.delete(id)
    else this.configs.set(id, given)
    await this.changed()
  }

  status(): DnsStatus {
    const { mode } = this.options
    const { state, message, view } = this
    return { mode, state, message, ...view, servers: this.embedded?.servers() ?? [] }
  }

  /** Brings everything to what the connections say. Resolves when that is done. */
  async changed(): Promise<void> {
    this.isChanged = true
    this.running ??= this.settle().finally(() => (this.running = undefined))
    return this.running
  }

  /** Leaves the pod's files as they were. */
  async close(): Promise<void> {
    this.closed ??= this.end()
    return this.closed
  }

  private async end(): Promise<void> {
    this.isClosed = true
    clearTimeout(this.retry)
    await this.running
    try {
      await this.file.restore()
    } catch (err) {
      this.log.error({ err: String(err) }, 'resolv.conf not restored; the next start does it')
    }
    await this.embedded?.close()
  }

  private get isByPodSpec(): boolean {
    return this.options.clusterServers.length > 0
  }

  private viewNow(): DnsView {
    // The order in which connections came up must not show.
    const configs = [...this.configs].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)
    return dnsView(this.origin, configs, ownAddresses(this.options, this.origin))
  }

  private async settle(): Promise<void> {
    while (this.isChanged && !this.isClosed) {
      this.isChanged = false
      const before = this.state
      try {
        this.state = await this.apply()
        this.message = messages[this.state]
      } catch (err) {
        this.state = 'failed'
        this.message = reasonOf(err, this.options)
        await this.file.restore().catch(() => undefined)
      }
      const { state, message } = this
      if (state !== before) this.log[state === 'failed' ? 'warn' : 'info']({ state, why: message }, 'names')
      this.retryLater()
    }
  }

  private retryLater(): void {
    clearTimeout(this.retry)
    const ms = { waiting: corednsRetryMs, failed: failureRetryMs, idle: 0, serving: 0 }[this.state]
    if (ms > 0 && !this.isClosed) this.retry = setTimeout(() => void this.changed(), ms).unref()
  }

  private async apply(): Promise<DnsState> {
    const { mode, listenOn } = this.options
    this.view = this.viewNow()
    const hasNames = JSON.stringify(this.view.zones) !== this.plain
    if (mode === 'coredns') await this.corefile.write(corefile(this.view, corefileOptions(this.options)))
    else if (hasNames || this.isByPodSpec || this.embedded !== undefined) await this.serve()
    if (this.isByPodSpec) return hasNames ? 'serving' : 'idle'
    if (!hasNames) {
      await this.file.restore()
      return 'idle'
    }
    if (mode === 'coredns' && !(await answers(listenOn))) return 'waiting'
    if (listenOn.port !== 53) throw new Error(`resolv.conf can name port 53 only, not ${listenOn.port}`)
    const { options } = this.file.original
    await this.file.takeOver({ nameservers: [listenOn.host], search: this.view.search, options })
    return 'serving'
  }

  /** Once it runs it goes on: programs may have read resolv.conf while it pointed here. */
  private async serve(): Promise<void> {
    const { origin, view, isByPodSpec } = this
    const search = view.search.filter((domain) => !origin.search.includes(domain))
    const shown = isByPodSpec ? { ...view, search } : view
    if (this.embedded !== undefined) return this.embedded.setView(shown)
    // Loaded when first needed: most pods' services bring no names.
    const { startEmbeddedDns } = await import('./embedded.ts')
    const searchBelowDots = isByPodSpec ? ndotsOf(this.file.original) : 0
    const more = { searchBelowDots, searchedBefore: origin.search }
    this.embedded = await startEmbeddedDns(shown, { ...this.options, ...more }, this.stats)
  }
}

/** What this pod answers itself is never asked: loopback addresses, and for CoreDNS, which listens on all, every other of the pod. */
function ownAddresses({ mode, listenOn }: PodDnsOptions, { servers }: Origin): (address: string) => boolean {
  const listening = new Set(['127.0.0.1', '::1', listenOn.host])
  const all = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address))
  const own = new Set(mode === 'coredns' ? all : [])
  return (address) => {
    if (listening.has(address) || own.has(address)) return true
    return address.startsWith('127.') && !servers.includes(address)
  }
}

function corefileOptions({ listenOn, timeoutMs, corefile: more }: PodDnsOptions): CorefileOptions {
  return { ...more, port: listenOn.port, timeoutSeconds: Math.max(1, Math.round(timeoutMs / 1_000)) }
}

async function answers({ host, port }: ListenAddress): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 })
    const end = (isOpen: boolean) => () => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false))
  })
}

function reasonOf(reason: unknown, { resolvConfPath, listenOn }: PodDnsOptions): string {
  const { code, syscall, path, message } = reason as NodeJS.ErrnoException
  if (path === resolvConfPath && ['EACCES', 'EROFS', 'EPERM'].includes(code ?? ''))
    return `${path} can't be written (${code}): this container needs to own it, or the pod's spec a dnsConfig`
  const address = `${listenOn.host}:${listenOn.port}`
  if (syscall === 'bind' || syscall === 'listen') {
    if (code === 'EADDRINUSE') return `another process of the pod listens on ${address}`
    if (code === 'EACCES')
      return `${address} needs NET_BIND_SERVICE or the sysctl net.ipv4.ip_unprivileged_port_start`
  }
  return message
}
