import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { backoff } from '@nsm/spiffe/backoff.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { clusterConfigurationPrefixes } from './cluster-configuration.ts'

/** What a cluster says of itself that cannot be watched everywhere. */
export interface ClusterFacts {
  /** Its API has ServiceCIDR objects. */
  readonly hasServiceCidrs: boolean
  /** From kubeadm's configuration; empty without one. */
  readonly pods: readonly Prefix[]
  readonly services: readonly Prefix[]
}

export interface FactsOptions {
  readonly client: ApiClient
  readonly clock: Clock
  readonly log: Logger
  /** Ends it. */
  readonly signal: AbortSignal
  readonly take: (facts: ClusterFacts) => void
}

const kubeadmPath = '/api/v1/namespaces/kube-system/configmaps/kubeadm-config'
/** A cluster is upgraded, or given another range, once in a blue moon. */
const againMs = 600_000

/** Hands over what the cluster says now, and again each ten minutes, until the signal aborts. */
export async function followFacts({ client, clock, log, signal, take }: FactsOptions): Promise<void> {
  const retry = backoff({ minMs: 1_000, maxMs: 60_000, random: Math.random })
  while (!signal.aborted) {
    let waitMs = againMs
    try {
      take(await readFacts(client, log, signal))
      retry.reset()
    } catch (reason) {
      waitMs = retry.next()
      if (!signal.aborted)
        log.warn({ err: NsmError.from(reason).message }, 'the cluster’s ranges are not known')
    }
    await sleep({ clock, signal }, waitMs).catch(() => undefined)
  }
}

async function readFacts(client: ApiClient, log: Logger, signal: AbortSignal): Promise<ClusterFacts> {
  const group = await unlessDenied(client.get<ResourceList>('/apis/networking.k8s.io/v1', signal))
  const hasServiceCidrs = group?.resources?.some(({ name }) => name === 'servicecidrs') ?? false
  const configMap = await unlessDenied(client.get<KubernetesObject>(kubeadmPath, signal))
  if (configMap === undefined) return { hasServiceCidrs, pods: [], services: [] }
  try {
    return { hasServiceCidrs, ...clusterConfigurationPrefixes(configMap) }
  } catch (err) {
    log.warn({ err: String(err) }, 'kubeadm’s configuration is not read')
    return { hasServiceCidrs, pods: [], services: [] }
  }
}

interface ResourceList extends KubernetesObject {
  readonly resources?: readonly { readonly name: string }[]
}

/** Not every cluster has it, and not every administrator lets it be read. */
async function unlessDenied<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (err) {
    if (err instanceof NsmError && (err.code === 'NOT_FOUND' || err.code === 'PERMISSION_DENIED'))
      return undefined
    throw err
  }
}
