import { ownNetnsUrl } from '@nsm/api/constants.js'
import { native } from '@nsm/native/native.js'
import { ping } from '@nsm/native/ping.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { clientChain, type ClientChain } from '@nsm/sdk/chains/client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background } from '@nsm/sdk/ctx.js'
import type { Element } from '@nsm/sdk/chain.js'
import { clientInfo } from '@nsm/sdk/elements/client-info.js'
import { excludedPrefixesClient } from '@nsm/sdk/elements/excluded-prefixes-client.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import type { Logger } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import type { SidecarConfig } from './config.ts'
import { closeAll, connectAll, plan, type ConnectionsOptions, type Planned } from './connections.ts'
import { openPodDns } from './dns/pod-dns.ts'
import { keepNames } from './keep-names.ts'
import { liveness } from './liveness.ts'
import { sidecarMetrics } from './metrics.ts'
import { reportStatus, tellingDial } from './report-status.ts'
import { statusBoard, type StatusBoard } from './status-board.ts'
import { statusServer } from './status-server.ts'

const clock = systemClock

/**
 * Starts the sidecar: identity, status, then all connections at once. It has started when it serves its status,
 * so that a pod that waits for an endpoint can be asked what it waits for.
 */
export async function startSidecar(
  config: SidecarConfig,
  log: Logger,
  signal: AbortSignal,
): Promise<Service> {
  const planned = plan(config.name, config.networkServices, config.required)
  const source = await openIdentity(config.spiffeEndpointSocket, log, signal)
  const names = config.dnsEnabled ? await openPodDns(dnsOptions(config), log) : undefined
  const board = statusBoard(
    {
      name: config.name,
      spiffeId: () => idOf(source),
      ...(names === undefined ? {} : { dns: () => names.status() }),
    },
    planned,
    clock,
  )
  const metrics = sidecarMetrics(board, source, names?.metrics)
  const status = await statusServer(config.opsListenOn, board, metrics, requiredIds(planned))
  log.info({ address: status.address }, 'status')

  const sessions = dialer({
    source,
    tokens: tokenGenerator({ maxLifetimeMs: config.maxTokenLifetimeMs, clock }),
    unix: { connectUnix, listenUnix },
    dialTimeoutMs: config.dialTimeoutMs,
    log,
    clock,
  })
  const alive = config.livenessEnabled ? liveness(ping, config.livenessTimeoutMs) : undefined
  const dial = tellingDial(sessions.dial, board)
  const reporting = [reportStatus(board), ...(names === undefined ? [] : [keepNames(names)])]
  const service = clientOf(config, dial, { board, alive, reporting })
  const options: ConnectionsOptions = {
    service,
    dial,
    url: config.connectTo,
    board,
    requestTimeoutMs: config.requestTimeoutMs,
    liveness: alive,
  }
  const stop = new AbortController()
  const connecting = connectAll(background({ log, clock, signal: stop.signal }), planned, options).then(
    () => log.info({ connections: planned.length }, 'all connections are up'),
    (err: unknown) => {
      if (!stop.signal.aborted) throw err
    },
  )
  return {
    ended: connecting.then(() => new Promise<never>(() => undefined)),
    close: async (drained) => {
      stop.abort()
      service.stop()
      // First of all: what comes next may take all the time that is left.
      await names?.close()
      await closeAll(background({ log, clock, signal: drained }), planned, options)
      sessions.close()
      source.close()
      await status.close()
    },
  }
}

function clientOf(
  config: SidecarConfig,
  dial: Dial,
  {
    board,
    alive,
    reporting,
  }: {
    readonly board: StatusBoard
    readonly alive: ConnectionsOptions['liveness']
    readonly reporting: readonly Element[]
  },
): ClientChain {
  return clientChain({
    name: config.name,
    dial,
    url: config.connectTo,
    refresh: true,
    authorize: true,
    heal: {
      livenessIntervalMs: config.livenessIntervalMs,
      livenessTimeoutMs: config.livenessTimeoutMs,
      lost: ({ id }, loss) =>
        board.apply({
          type: 'lost',
          id,
          cause: loss === 'data plane' ? 'DataPlaneLost' : 'ControlPlaneLost',
        }),
      ...(alive === undefined ? {} : { liveness: alive }),
    },
    elements: [
      ...reporting,
      clientInfo(config),
      excludedPrefixesClient(config.awarenessGroups),
      kernelClient({ netnsUrl: ownNetnsUrl }),
      sendFdClient(native),
    ],
  })
}

function dnsOptions(config: SidecarConfig): Parameters<typeof openPodDns>[0] {
  return {
    mode: config.dnsMode,
    listenOn: config.dnsListenOn,
    resolvConfPath: config.dnsResolvConfPath,
    clusterServers: config.dnsClusterServers,
    corefilePath: config.dnsCorefilePath,
    corefile: { metrics: config.dnsCorednsMetrics },
    timeoutMs: config.dnsTimeoutMs,
    serverPort: 53,
  }
}

function requiredIds(planned: readonly Planned[]): ReadonlySet<string> {
  return new Set(planned.filter(({ isRequired }) => isRequired).map(({ id }) => id))
}

/** Own SPIFFE ID; null while it is withdrawn. */
function idOf(source: X509Source): string | null {
  try {
    return source.current.svids[0].id
  } catch {
    return null
  }
}
