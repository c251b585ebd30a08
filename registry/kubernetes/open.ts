import { openApiClient } from '@nsm/kubernetes/open-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import { clientAllowed } from '@nsm/sdk/policies/client-allowed.js'
import { version } from '@nsm/sdk/process/version.js'
import { registryPolicies } from '@nsm/sdk/registry/policies.js'
import type { RegistryConfig } from '../config.ts'
import type { KubernetesMetrics, RegistryMetrics } from '../metrics.ts'
import { sizesOf, type OpenStores } from '../stores.ts'
import { sharedRegistryServer } from './chains.ts'
import { kubernetesStores } from './stores.ts'

/** How long one call of the API may take, waiting for its turn included. */
const timeoutMs = 10_000

/** Opens the stores on custom resources; they load in the background. */
export async function inKubernetes(
  config: RegistryConfig,
  log: Logger,
  { metrics, clock }: { readonly metrics: RegistryMetrics; readonly clock: Clock },
): Promise<OpenStores> {
  const { namespace, kubeletQps: qps, expirePeriodMs: periodMs, kubeconfig } = config
  const account = { kubeconfig, userAgent: `nsm-registry/${version}`, log, timeoutMs }
  const client = await openApiClient({ ...account, qps })
  const watchClient = await openApiClient(account)
  const counts: KubernetesMetrics = metrics.kubernetes(() => ({
    waiting: stores.networkServiceEndpoints.waiting,
    isConnected: stores.isConnected,
  }))
  const stores = kubernetesStores({
    client,
    watchClient,
    namespace,
    clock,
    log,
    periodMs,
    isOwned: registryPolicies(config.serverPolicies).some((policy) => policy === clientAllowed),
    observe: counts.called,
    expired: counts.expired,
  })
  return {
    sizes: () => sizesOf(stores),
    server: (options) => sharedRegistryServer({ ...options, stores, periodMs }),
    watch: (ready) =>
      void ready.add('kubernetes', () => (stores.isLoaded ? undefined : 'registrations are not loaded yet')),
    close() {
      stores.close()
      client.close()
      watchClient.close()
    },
  }
}
