import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { serverVersion } from '@nsm/kubernetes/version.js'

/**
 * Whether init containers of this cluster may run beside the others: since Kubernetes 1.29 they may; they do where the version is a secret.
 * Rejects as `ApiClient.get`.
 */
export async function hasNativeSidecars(client: ApiClient, log: Logger): Promise<boolean> {
  const version = await serverVersion(client).catch((err: unknown) => {
    if (NsmError.from(err).code !== 'PERMISSION_DENIED') throw err
    log.warn(
      { err: String(err) },
      'version of the cluster not to be had, native sidecars are taken for granted',
    )
    return undefined
  })
  if (version === undefined) return true
  const { major, minor } = version
  const isNative = major > 1 || minor >= 29
  if (!isNative) {
    log.warn(
      { version: `${major}.${minor}` },
      'no native sidecars before Kubernetes 1.29: ordinary containers instead',
    )
  }
  return isNative
}
