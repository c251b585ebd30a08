import { hostname } from 'node:os'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { eventRecorder } from '@nsm/kubernetes/events.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { namespacesFromApi } from './api-namespaces.ts'
import type { WebhookConfig } from './config.ts'
import { decisionEvents, type DecisionListener } from './decision-events.ts'
import { namespacesFromFile, noNamespaces, type Namespaces } from './namespaces.ts'
import { hasNativeSidecars } from './native-sidecars.ts'
import { persistent } from './persistent.ts'

/** What surrounds the webhook: a Kubernetes cluster, or files that stand for one. */
export interface Cluster {
  /** undefined = nothing of what is configured needs the API server. */
  readonly client: ApiClient | undefined
  readonly namespaces: Namespaces
  /** Tells of decisions, where somebody reads that. */
  readonly decided: DecisionListener
  /** Whether pods may have native sidecars; waits for the API server if it must be asked. */
  nativeSidecars(signal: AbortSignal): Promise<boolean>
  close(): Promise<void>
}

/** Opens what the configuration names; does not wait for the API server. @throws NsmError INVALID_ARGUMENT, FAILED_PRECONDITION */
export async function openCluster(config: WebhookConfig, log: Logger): Promise<Cluster> {
  const { caSecret, webhookConfiguration, annotation } = config
  const { namespacesFile, namespacesFrom = namespacesFile === undefined ? 'none' : 'file' } = config
  const isAsked = namespacesFrom === 'api' || caSecret !== undefined || webhookConfiguration !== undefined
  const client = isAsked ? await openClient(config, log) : undefined
  if (namespacesFrom !== 'api' || client === undefined) {
    const namespaces = namespacesFrom === 'file' ? await fromFile(namespacesFile, log) : noNamespaces
    return clusterOf(config, log, { client, namespaces, tellers: undefined })
  }
  const namespaces = namespacesFromApi({ client, annotation, log })
  const tellers = config.events
    ? eventRecorder({ client, component: 'nsm-webhook', instance: hostname(), log })
    : undefined
  return clusterOf(config, log, { client, namespaces, tellers })
}

function clusterOf(
  config: WebhookConfig,
  log: Logger,
  {
    client,
    namespaces,
    tellers,
  }: Pick<Cluster, 'client' | 'namespaces'> & {
    readonly tellers: ReturnType<typeof eventRecorder> | undefined
  },
): Cluster {
  return {
    client,
    namespaces,
    decided: tellers === undefined ? () => undefined : decisionEvents(tellers),
    nativeSidecars: async (signal) => {
      if (config.nativeSidecars !== 'auto') return config.nativeSidecars === 'true'
      if (client === undefined) return true
      return persistent(async () => hasNativeSidecars(client, log), {
        log,
        what: 'version of the cluster',
        signal,
      })
    },
    close: async () => {
      namespaces.close()
      await tellers?.close()
      client?.close()
    },
  }
}

async function openClient({ kubeconfig, kubeletQps }: WebhookConfig, log: Logger): Promise<ApiClient> {
  return openApiClient({ kubeconfig, userAgent: 'nsm-webhook', qps: kubeletQps, log })
}

async function fromFile(path: string | undefined, log: Logger): Promise<Namespaces> {
  if (path !== undefined) return namespacesFromFile(path, log)
  throw new NsmError('INVALID_ARGUMENT', 'NSM_NAMESPACES_FROM=file needs NSM_NAMESPACES_FILE')
}
