import { dirname } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { eventRecorder, type EventRecorder } from '@nsm/kubernetes/events.js'
import type { Informer } from '@nsm/kubernetes/informer.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks } from '@nsm/sdk/process/checks.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { version } from '@nsm/sdk/process/version.js'
import type { AgentConfig } from './config.ts'
import { startCsiDriver, type CsiDriver } from './csi/driver.ts'
import { untilUnused } from './csi/in-use.ts'
import { startIdentity, type NodeIdentity } from './identity/identity.ts'
import { followLeaveFile } from './leave.ts'
import { agentMetrics, type AgentMetrics } from './metrics.ts'
import { nodePods, type NodePod } from './node-pods.ts'
import { followPods, type FollowedPods } from './status/follow-pods.ts'

const closeMs = 3_000

/** What needs the API server. */
interface Link {
  readonly client: ApiClient
  readonly pods: Informer<NodePod>
  readonly identity: NodeIdentity | undefined
  readonly events: EventRecorder | undefined
  readonly followed: FollowedPods | undefined
}

/**
 * Starts the node's link to Kubernetes: sockets for pods, identities, Events. Volumes do not wait for the API server, so that pods can come and go
 * while it is away.
 */
export async function startAgent(config: AgentConfig, log: Logger): Promise<Service> {
  let link: Link | undefined
  const metrics = agentMetrics(() => link ?? {})
  const drivers = config.csi ? await startDrivers(config, log) : []
  const needsLink = config.identity === 'embedded' || config.events || config.podCondition
  link = needsLink ? await openLink(config, metrics, log) : undefined
  const ready = checks()
  if (link !== undefined) {
    const { pods, identity } = link
    ready.add('pods', () => (pods.synced ? undefined : 'the API server has not told of this node’s pods'))
    if (identity !== undefined) ready.add('identity', () => identity.problem)
  }
  const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics: metrics.process })
  const departure = await followLeaveFile(config.leaveFile, { ready, log })
  log.info({ node: config.nodeName, ops: ops.address }, 'listening')

  return {
    ...(link?.identity === undefined ? {} : { ended: link.identity.failed }),
    async close(signal) {
      departure.close()
      await Promise.all([ops.close(), link === undefined ? undefined : closeLink(link)].map(soon))
      if (departure.isLeaving)
        await untilUnused({ drivers, kubeletFolder: config.kubeletFolder, log, signal })
      await Promise.all(drivers.map(async (driver) => driver.close()))
    },
  }
}

/** What has not ended by then is left to end with the process. */
async function soon(closing: Promise<void> | undefined): Promise<void> {
  await Promise.race([closing, pause(closeMs, undefined, { ref: false })])
}

async function startDrivers(config: AgentConfig, log: Logger): Promise<readonly CsiDriver[]> {
  const { kubeletFolder, nodeName: nodeId } = config
  const folders: readonly (readonly [driver: string, source: string])[] = [
    ['csi.networkservicemesh.io', config.managerFolder],
    ...(config.identity === 'embedded' ? [['csi.spiffe.io', dirname(config.identitySocket)] as const] : []),
  ]
  return Promise.all(
    folders.map(async ([driver, source]) => startCsiDriver({ driver, source, kubeletFolder, nodeId, log })),
  )
}

async function openLink(config: AgentConfig, metrics: AgentMetrics, log: Logger): Promise<Link> {
  const { nodeName, kubeconfig, qps, podCondition } = config
  const client = await openApiClient({ kubeconfig, userAgent: `nsm-agent/${version}`, qps, log })
  const pods = nodePods(client, nodeName, log)
  const identity =
    config.identity === 'embedded'
      ? startIdentity({
          config,
          client,
          namespace: config.namespace ?? client.namespace,
          pods,
          log,
          attested: metrics.attested,
        })
      : undefined
  const events = config.events
    ? eventRecorder({ client, component: 'nsm-agent', instance: nodeName, log })
    : undefined
  const followed =
    config.events || podCondition
      ? followPods({ pods, client, events, podCondition, clock: systemClock, log })
      : undefined
  return { client, pods, identity, events, followed }
}

async function closeLink({ client, pods, identity, events, followed }: Link): Promise<void> {
  followed?.close()
  await Promise.all([identity?.close(), events?.close()])
  pods.close()
  client.close()
}
