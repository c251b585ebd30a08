import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { remoteRegistries } from '@nsm/sdk/chains/remote-registries.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks } from '@nsm/sdk/process/checks.js'
import { identityCheck, openIdentity } from '@nsm/sdk/process/identity.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { health } from '@nsm/sdk/transport/health.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import type { RegistryConfig } from './config.ts'
import { registryMetrics } from './metrics.ts'
import { openStores } from './stores.ts'

/** Loads native code only if a `unix:` URL is used. */
const unix = { connectUnix, listenUnix }

/** Upstream's nsmgr keeps one for each endpoint and for each watch. */
const maxConnections = 16_384

/** How long calls may take to finish when the registry stops. */
const graceMs = 1000

/** Starts the registry of network services and their endpoints. */
export async function startRegistry(
  config: RegistryConfig,
  log: Logger,
  signal: AbortSignal,
): Promise<Service> {
  const source = await openIdentity(config.spiffeEndpointSocket, log, signal)
  const metrics = registryMetrics(() => stores.sizes())
  metrics.process.svid(source)
  const stores = await openStores(config, log, metrics)
  const tokens = tokenGenerator({ maxLifetimeMs: config.maxTokenLifetimeMs, clock: systemClock })
  const dialled = dialer({ source, tokens, unix, dialTimeoutMs: config.dialTimeoutMs, log })
  const { proxyRegistryUrl: url } = config
  const registries = stores.server({
    tokens,
    policyMasks: config.serverPolicies,
    observe: metrics.ended,
    ...(url === undefined ? {} : { proxy: remoteRegistries({ dial: dialled.dial, url }) }),
  })
  const served = { ...registries, health: health(servedNames) }
  const { listenOn } = config
  const server = await startServer({
    listenOn,
    source,
    unix,
    log,
    services: served,
    limits: { maxConnections },
  })
  const ready = checks()
  ready.add('identity', identityCheck(source, systemClock))
  stores.watch(ready)
  const ops = await opsServer({
    listenOn: config.opsListenOn,
    checks: ready,
    metrics: metrics.process,
  })
  log.info({ urls: server.urls, ops: ops.address }, 'listening')

  return {
    async close() {
      await Promise.all([server.close(graceMs), ops.close()])
      stores.close()
      dialled.close()
      source.close()
    },
  }
}

/** Full names of what is served, for health checks by name (wire contract §1.1). */
const servedNames = ['registry.NetworkServiceRegistry', 'registry.NetworkServiceEndpointRegistry']
