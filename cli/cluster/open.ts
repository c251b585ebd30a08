import { NsmError } from '@nsm/sdk/errors.js'
import { silent } from '@nsm/sdk/log.js'
import { version } from '@nsm/sdk/process/version.js'
import { clusterOf, type Cluster } from './cluster.ts'

/** Which cluster is meant, by kubectl's words. */
export interface ClusterChoice {
  readonly kubeconfig?: string
  readonly context?: string
}

/** Opens the cluster of a kubeconfig; loads the client only now, which commands without a cluster do without. */
export async function openCluster({ kubeconfig, context }: ClusterChoice): Promise<Cluster> {
  const { openApiClient } = await import('@nsm/kubernetes/open-client.js')
  try {
    const userAgent = `kubectl-nsm/${version}`
    return clusterOf(
      await openApiClient({ kubeconfig, context, userAgent, qps: 50, burst: 300, log: silent }),
    )
  } catch (reason) {
    const err = NsmError.from(reason)
    const cause: unknown = err.cause
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')
      throw new NsmError(
        'NOT_FOUND',
        `there is no kubeconfig: ${err.message.replace(/^kubeconfig: /, '')}; set KUBECONFIG, or say --kubeconfig FILE`,
        { cause: reason },
      )
    throw err
  }
}
