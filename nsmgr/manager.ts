import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { registryNsmgr, type NsmgrRegistries } from '@nsm/sdk/chains/registry-nsmgr.js'
import { serverChain, type ServerChain } from '@nsm/sdk/chains/server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { clientInfo, whereaboutsLabels } from '@nsm/sdk/elements/client-info.js'
import { connectTo } from '@nsm/sdk/elements/connect-to.js'
import { discoverForwarder } from '@nsm/sdk/elements/discover-forwarder.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { excludedPrefixes } from '@nsm/sdk/elements/excluded-prefixes.js'
import { excludedPrefixesFile } from '@nsm/sdk/elements/excluded-prefixes-file.js'
import { netsvcMonitor } from '@nsm/sdk/elements/netsvc-monitor.js'
import { recvFdClient } from '@nsm/sdk/elements/recv-fd-client.js'
import { recvFdServer } from '@nsm/sdk/elements/recv-fd-server.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks } from '@nsm/sdk/process/checks.js'
import { identityCheck, openIdentity } from '@nsm/sdk/process/identity.js'
import { probe } from '@nsm/sdk/process/probe.js'
import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { recvFdServer as recvSocket } from '@nsm/sdk/registry/recv-fd.js'
import { sendFdServer as sendSocket } from '@nsm/sdk/registry/send-fd.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer, type Dialer } from '@nsm/sdk/transport/client.js'
import { health } from '@nsm/sdk/transport/health.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import type { ManagerConfig } from './config.ts'
import { unverifiedNetns } from './metrics.ts'
import { publicUrl } from './public-url.ts'

const unix = { connectUnix, listenUnix }

/** Starts the node's manager: carries requests to a forwarder, and stands in front of the registry for its node. */
export async function startManager(
  config: ManagerConfig,
  log: Logger,
  signal: AbortSignal,
): Promise<Service> {
  const source = await openIdentity(config.spiffeEndpointSocket, log, signal)
  const metrics = processMetrics('nsmgr')
  metrics.svid(source)
  const tokens = tokenGenerator({ maxLifetimeMs: config.maxTokenLifetimeMs, clock: systemClock })
  const dialled = dialer({ source, tokens, unix, dialTimeoutMs: config.dialTimeoutMs, log })
  const prefixes = await excludedPrefixesFile(config.excludedPrefixesFile, log)
  const registries = startRegistries(config, { tokens, dialled })
  const connections = startConnections(config, {
    tokens,
    dialled,
    metrics,
    registries: registries.local,
    prefixes: () => prefixes.prefixes(),
  })

  const server = await startServer({
    listenOn: config.listenOn,
    source,
    unix,
    log,
    services: {
      networkService: connections.server.service,
      monitor: connections.server.monitor,
      ...registries.served,
      health: health(servedNames),
    },
  })
  const reachable = probe({
    log,
    clock: systemClock,
    ask: (ctx) => registries.ask(ctx, config.forwarderService),
  })
  const ready = checks()
  ready.add('registry', reachable.check)
  ready.add('identity', identityCheck(source, systemClock))
  const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics })
  log.info({ urls: server.urls, public_url: publicUrl(config.listenOn), ops: ops.address }, 'listening')

  return {
    async close() {
      reachable.stop()
      connections.close()
      await Promise.all([server.close(1_000), ops.close()])
      dialled.close()
      registries.close()
      prefixes.close()
      source.close()
    },
  }
}

/** Full names of what is served, for health checks by name (wire contract §1.1). */
const servedNames = [
  'networkservice.NetworkService',
  'connection.MonitorConnection',
  'registry.NetworkServiceRegistry',
  'registry.NetworkServiceEndpointRegistry',
]

interface Shared {
  readonly tokens: TokenGenerator
  readonly dialled: Dialer
}

/** The registry side (wire contract §5.4). */
function startRegistries(config: ManagerConfig, { tokens, dialled }: Shared): NsmgrRegistries {
  const sockets = recvSocket({ native, sharedFolders: config.sharedSocketFolders })
  const registries = registryNsmgr({
    tokens,
    dial: dialled.dial,
    registryUrl: config.registryUrl,
    publicUrl: publicUrl(config.listenOn),
    policyMasks: config.serverPolicies,
    clientInfo: whereaboutsLabels(config),
    descriptors: [sockets, sendSocket({ native, fdOf: (url) => sockets.fdOf(url) })],
  })
  return {
    ...registries,
    close() {
      registries.close()
      sockets.close()
    },
  }
}

interface ConnectionsOptions extends Shared {
  readonly metrics: ProcessMetrics
  readonly registries: Registries
  readonly prefixes: () => readonly string[]
}

/** The connection side (wire contract §5.1). */
function startConnections(
  config: ManagerConfig,
  { tokens, dialled, metrics, registries, prefixes }: ConnectionsOptions,
): { server: ServerChain; close(): void } {
  const { name, forwarderService } = config
  const nsmgrUrl = publicUrl(config.listenOn)
  const client = clientChain({
    name,
    dial: dialled.dial,
    elements: [recvFdClient(native), sendFdClient(native)],
  })
  const server = serverChain({
    name,
    tokens,
    monitor: { observers: new Set(config.observers) },
    observe: ({ operation, service, code, ms }) => {
      metrics.called({ operation, service, code })
      if (operation === 'request' && code === 'OK') metrics.setUp('nsmgr', ms / 1_000)
    },
    elements: [
      clientInfo(config),
      discoverForwarder({ registries, nsmgrUrl, forwarderService }),
      netsvcMonitor(registries),
      excludedPrefixes(prefixes),
      recvFdServer({ native, ownNetnsOnly: () => true, unverified: unverifiedNetns(metrics) }),
      sendFdServer(native),
      connectTo(client),
    ],
  })
  metrics.connections(server.counts)
  return {
    server,
    close() {
      client.stop()
      server.close()
    },
  }
}
