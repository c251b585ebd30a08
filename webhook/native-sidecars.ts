import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { serverVersion } from '@nsm/kubernetes/version.js'

/** Whether init containers of this cluster may run beside the others: since Kubernetes 1.29 they may. Rejects as `ApiClient.get`. */
export async function hasNativeSidecars(client: ApiClient, log: Logger): Promise<boolean> {
  const { major, minor } = await serverVersion(client)
  const isNative = major > 1 || minor >= 29
  if (!isNative) {
    log.warn(
      { version: `${major}.${minor}` },
      'no native sidecars before Kubernetes 1.29: ordinary containers instead',
    )
  }
  return isNative
}
