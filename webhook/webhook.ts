import { systemClock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks, type Check, type Checks } from '@nsm/sdk/process/checks.js'
import { opsServer, type OpsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { ServingCertificate } from './certificate.ts'
import { openCluster, type Cluster } from './cluster.ts'
import type { WebhookConfig } from './config.ts'
import { webhookMetrics, type WebhookMetrics } from './metrics.ts'
import { webhookServer } from './server.ts'
import { openCertificate } from './serving-certificate.ts'
import { settingsOf } from './settings.ts'

/** The longest time for which new requests are answered after the process was told to stop, and how long running ones may take then. */
const maxDrainMs = 20_000
const finishMs = 3_000
/** Time for `close`. */
export const closeMs: number = maxDrainMs + finishMs

interface Parts {
  readonly config: WebhookConfig
  readonly log: Logger
  readonly ready: Checks
  readonly metrics: WebhookMetrics
  readonly cluster: Cluster
}

/** Starts the admission webhook; it needs nothing else of the mesh. Until the API server is there, it waits for it, alive and not ready. */
export async function startWebhook(
  config: WebhookConfig,
  log: Logger,
  signal: AbortSignal,
): Promise<Service> {
  const metrics = webhookMetrics()
  const ready = checks()
  ready.add('certificate', () => 'there is no serving certificate yet')
  const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics: metrics.process })
  try {
    const cluster = await openCluster(config, log)
    return await serve({ config, log, ready, metrics, cluster }, ops, signal)
  } catch (err) {
    await ops.close()
    throw err
  }
}

async function serve(parts: Parts, ops: OpsServer, signal: AbortSignal): Promise<Service> {
  const { config, log, ready, metrics, cluster } = parts
  const { namespaces } = cluster
  ready.add('namespaces', () => namespaces.fault())
  const certificate = await openCertificate(config, log, cluster, signal)
  const isServing = lifeOf(certificate)
  if (certificate.fault !== undefined) ready.add('ca bundle', certificate.fault)
  metrics.certificate(() => certificate.current.expires, certificate.authorityExpires)
  let isStopping = false
  ready.add('running', () => (isStopping ? 'told to stop' : undefined))
  const server = await webhookServer({
    listenOn: config.listenOn,
    certificate,
    settings: await settingsOf(config, await cluster.nativeSidecars(signal)),
    namespaces,
    log,
    admitted: metrics.admitted,
    decided: cluster.decided,
    fault: () => (isStopping ? 'told to stop' : (isServing() ?? namespaces.fault())),
  })
  ready.add('certificate', isServing)
  log.info({ port: server.port, ops: ops.address }, 'listening')
  return {
    close: async (end) => {
      isStopping = true
      certificate.close()
      // Callers hear of it by the Service, some time after this process.
      const drainMs = Math.min(config.drainMs, maxDrainMs)
      await sleep({ clock: systemClock, signal: end }, drainMs).catch(() => undefined)
      await server.close(AbortSignal.any([end, AbortSignal.timeout(finishMs)]))
      await Promise.all([ops.close(), cluster.close()])
    },
  }
}

function lifeOf(certificate: ServingCertificate): Check {
  return () =>
    certificate.current.expires.getTime() > Date.now() ? undefined : 'the serving certificate has expired'
}
