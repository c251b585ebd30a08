import { NetworkServiceEndpoint, NetworkServiceLabels } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { lookupRegistries } from '@nsm/sdk/chains/remote-registries.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import type { Outcome } from '@nsm/sdk/elements/log-outcome.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks, type Check, type Checks } from '@nsm/sdk/process/checks.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { health } from '@nsm/sdk/transport/health.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import type { ForwarderConfig } from './config.ts'
import { connections, type Connections } from './connections.ts'
import { knownManager } from './known-manager.ts'
import { followLeaveFile } from './leave.ts'
import { orphanSweep } from './wiring/adopt.ts'

const unix = { connectUnix, listenUnix }
/** How long calls may take to finish, and the registration to be taken back, when the forwarder stops. */
const graceMs = 1_000
/** Full names of what is served, for health checks by name (wire contract §1.1). */
const servedNames = ['networkservice.NetworkService', 'connection.MonitorConnection']

/** Starts the forwarder; it has started when the node's manager has taken its registration. */
export async function startForwarder(
  config: ForwarderConfig,
  log: Logger,
  signal: AbortSignal,
): Promise<Service> {
  const { name, connectTo: url } = config
  const source = await openIdentity(config.spiffeEndpointSocket, log, signal)
  const metrics = processMetrics('forwarder')
  const tokens = tokenGenerator({ maxLifetimeMs: config.maxTokenLifetimeMs, clock: systemClock })
  const dialled = dialer({ source, tokens, unix, dialTimeoutMs: config.dialTimeoutMs, log })
  const manager = knownManager(dialled.dial, url)
  const { dial } = manager
  const registries = lookupRegistries({ dial, url, descriptors: native })
  const served = connections({
    name,
    native,
    dial,
    isManager: (caller) => manager.is(caller),
    registries,
    mechanismPriority: config.mechanismPriority,
    tokens,
    observe: observer(metrics),
  })
  metrics.svid(source)
  metrics.connections(served.counts)
  const listening = await startServer({
    listenOn: [config.listenOn],
    source,
    unix,
    log,
    services: { ...served.services, health: health(servedNames) },
  })
  let registered = false
  const ready = readiness(() => (registered ? undefined : `${url} has not taken it yet`))
  const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics })
  log.info({ urls: listening.urls, ops: ops.address }, 'listening')
  const orphans = sweep(config, served, log)
  const leave = await leaveWhenTold(config, { log, ready, served, orphans })
  const withdraw = await announce(background({ log, signal }), config, dial)
  registered = true
  log.info({ name, service: config.serviceName }, 'registered')

  return {
    async close(drained) {
      orphans.stop()
      leave.close()
      await withdraw(AbortSignal.any([drained, AbortSignal.timeout(graceMs)])).catch((err: unknown) => {
        log.warn({ err: String(err) }, 'registration not taken back')
      })
      served.close()
      await Promise.all([listening.close(graceMs), ops.close()])
      dialled.close()
      source.close()
    },
  }
}

/** Removes links that no connection owns, when those of before a restart have had the time to be asked for again. */
function sweep(
  { name, maxTokenLifetimeMs }: ForwarderConfig,
  served: Pick<Connections, 'owned'>,
  log: Logger,
): ReturnType<typeof orphanSweep> {
  return orphanSweep({
    native,
    clock: systemClock,
    log,
    forwarderName: name,
    graceMs: maxTokenLifetimeMs,
    owned: () => served.owned(),
  })
}

/** Removes also what is left of connections of before a restart that no client has asked for again. */
function leaveWhenTold(
  { name, leaveFile }: ForwarderConfig,
  parts: { log: Logger; ready: Checks; served: Connections; orphans: { stop(): void } },
): ReturnType<typeof followLeaveFile> {
  const { log, ready, served, orphans } = parts
  const owned = (): ReadonlySet<string> => new Set()
  const removeLinks = async (): Promise<void> => {
    orphans.stop()
    const all = orphanSweep({ native, clock: systemClock, log, forwarderName: name, graceMs: 0, owned })
    await all.sweep()
    all.stop()
  }
  return followLeaveFile(leaveFile, { log, ready, leave: () => served.leave(), removeLinks })
}

function readiness(registration: Check): Checks {
  const all = checks()
  all.add('registration', registration)
  return all
}

function observer(metrics: ProcessMetrics): (outcome: Outcome) => void {
  return ({ operation, service, code, ms }) => {
    metrics.called({ operation, service, code })
    if (operation === 'request' && code === 'OK') metrics.setUp('forwarder', ms / 1_000)
  }
}

/** Registers the forwarder as an endpoint (§6.1) and keeps it registered; the answer takes it back. */
async function announce(
  ctx: Ctx,
  config: ForwarderConfig,
  dial: Dial,
): Promise<(signal: AbortSignal) => Promise<void>> {
  const watches = new AbortController()
  const { networkServiceEndpoints } = registryClient({
    dial,
    url: config.connectTo,
    signal: watches.signal,
    policyMasks: config.clientPolicies,
    descriptors: native,
  })
  const labels = NetworkServiceLabels.fromPartial({ labels: config.labels })
  const endpoint = await networkServiceEndpoints.register(
    ctx,
    NetworkServiceEndpoint.fromPartial({
      name: config.name,
      url: config.listenOn,
      networkServiceNames: [config.serviceName],
      networkServiceLabels: { [config.serviceName]: labels },
    }),
  )
  return async (signal) => {
    watches.abort()
    await networkServiceEndpoints.unregister({ ...ctx, signal }, endpoint)
  }
}
