import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { serverChain } from '@nsm/sdk/chains/server.js'
import type { Element } from '@nsm/sdk/chain.js'
import { systemClock as clock } from '@nsm/sdk/clock.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { idle } from '@nsm/sdk/elements/idle.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks } from '@nsm/sdk/process/checks.js'
import type { CommonConfig, IdentityConfig } from '@nsm/sdk/process/common-variables.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { health } from '@nsm/sdk/transport/health.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import type { UnixTransport } from '@nsm/sdk/transport/unix.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { register, type RegistrationConfig } from './registration.ts'
import { teardown, type Teardown } from './teardown.ts'

/** What every endpoint is configured with. */
export interface EndpointConfig extends CommonConfig, IdentityConfig, RegistrationConfig {
  /** The node's manager. */
  readonly connectTo: string
  /** Where the folder of the socket is made; undefined = the system's temporary folder. */
  readonly baseDir: string | undefined
  readonly unregisterItself: boolean
  /** 0 = never. */
  readonly idleTimeoutMs: number
  /** NSM_REGISTRY_CLIENT_POLICIES. */
  readonly clientPolicies: readonly string[]
}

/** One program that is an endpoint. */
export interface Endpoint {
  /** What it is called in metrics. */
  readonly app: string
  readonly config: EndpointConfig
  /** What it does, from the outside in. */
  readonly elements: readonly Element[]
  /** Called when it stops, or cannot start. */
  close(): void
}

/** An endpoint needs nobody's network namespace but its own: one that is held keeps the interfaces of a dead pod up. */
const unix: UnixTransport = {
  connectUnix,
  listenUnix: async (path, options, onConnection) =>
    listenUnix(path, { ...options, keepsDescriptors: false }, onConnection),
}
/** The manager is on the same node, but may be starting itself. */
const dialTimeoutMs = 5_000
/** The rest is undone in what is left of the drain time. */
const unregisterTimeoutMs = 2_000
/** Full names of what is served, for health checks by name (wire contract §1.1). */
const servedNames = ['networkservice.NetworkService', 'connection.MonitorConnection']

/**
 * Runs an endpoint: identity, a unix socket that serves the elements behind the chain of every server, registration (§5.6).
 * It has started when it is registered, for which it waits until `signal` aborts; it ends by itself when it has been idle for too long.
 */
export async function startEndpoint(endpoint: Endpoint, log: Logger, signal: AbortSignal): Promise<Service> {
  const { config } = endpoint
  const undo = teardown(log)
  undo.add(() => endpoint.close())
  try {
    const source = await openIdentity(config.spiffeEndpointSocket, log, signal)
    undo.add(() => source.close())
    const tokens = tokenGenerator({ maxLifetimeMs: config.maxTokenLifetimeMs, clock })
    const metrics = processMetrics(endpoint.app)
    metrics.svid(source)
    let registered = false
    const ready = checks()
    ready.add('registration', () => (registered ? undefined : `${config.connectTo} has not taken it yet`))
    const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics })
    undo.add(() => ops.close())

    const { url, ended } = await serve(endpoint, { source, tokens, metrics, log, undo })
    log.info({ url, ops: ops.address }, 'listening')
    const sessions = dialer({ source, tokens, unix, dialTimeoutMs, log })
    undo.add(() => sessions.close())
    await announce(config, url, { dial: sessions.dial, undo, ctx: background({ log, signal }) })
    registered = true
    log.info({ name: config.name, services: config.serviceNames }, 'registered')
    return { ...(ended !== undefined && { ended }), close: (drained) => undo.run(drained) }
  } catch (err) {
    await undo.run(AbortSignal.timeout(1_000))
    // A call that was given up may tell its last fault instead.
    signal.throwIfAborted()
    throw err
  }
}

interface ServeOptions {
  readonly source: X509Source
  readonly tokens: TokenGenerator
  readonly metrics: ProcessMetrics
  readonly log: Logger
  readonly undo: Teardown
}

/** Serves the endpoint on a socket in a folder of its own. `ended`: when it has been idle for too long. */
async function serve(
  { app, config, elements }: Endpoint,
  { source, tokens, metrics, log, undo }: ServeOptions,
): Promise<{ url: string; ended: Promise<void> | undefined }> {
  let leave: () => void = () => undefined
  const left = new Promise<void>((resolve) => (leave = resolve))
  const unused = idle(config.idleTimeoutMs, clock, leave)
  undo.add(() => unused.stop())
  const server = serverChain({
    name: config.name,
    tokens,
    observe: ({ operation, service, code, ms }) => {
      metrics.called({ operation, service, code })
      if (operation === 'request' && code === 'OK') metrics.setUp(app, ms / 1_000)
    },
    elements: [sendFdServer(native), unused.element, ...elements],
  })
  metrics.connections(server.counts)
  undo.add(() => server.close())
  const folder = await mkdtemp(join(config.baseDir ?? tmpdir(), 'nse-'))
  undo.add(() => rm(folder, { recursive: true, force: true }))
  const url = `unix://${join(folder, 'listen.on')}`
  const services = { networkService: server.service, monitor: server.monitor, health: health(servedNames) }
  const listening = await startServer({ listenOn: [url], source, unix, log, services })
  undo.add(() => listening.close(1_000))
  return { url, ended: config.idleTimeoutMs === 0 ? undefined : left }
}

interface AnnounceOptions {
  readonly dial: Dial
  readonly undo: Teardown
  readonly ctx: Ctx
}

/** Registers the endpoint and keeps it registered. */
async function announce(
  config: EndpointConfig,
  url: string,
  { dial, undo, ctx }: AnnounceOptions,
): Promise<void> {
  const watches = new AbortController()
  undo.add(() => watches.abort())
  const registries = registryClient({
    dial,
    url: config.connectTo,
    signal: watches.signal,
    policyMasks: config.clientPolicies,
    descriptors: native,
  })
  const registration = await register(ctx, registries, config, url)
  if (!config.unregisterItself) return
  undo.add((drained) => {
    const signal = AbortSignal.any([drained, AbortSignal.timeout(unregisterTimeoutMs)])
    return registries.networkServiceEndpoints.unregister({ ...ctx, signal }, registration)
  })
}
