import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { keptSecret } from '@nsm/kubernetes/kept-secret.js'
import { memoryStore, type AuthorityStore } from './authorities.ts'
import { bundleFile, noBundle } from './bundle-file.ts'
import type { ServingCertificate } from './certificate.ts'
import type { Cluster } from './cluster.ts'
import type { WebhookConfig } from './config.ts'
import { fileCertificate } from './file-certificate.ts'
import { ownCertificate, type BundlePublisher, type OwnCertificate } from './own-certificate.ts'
import { persistent } from './persistent.ts'
import { configuredBundle } from './webhook-configuration.ts'

/** The fields of a certificate made here are absent in one from files: nothing is known of its authority. */
export type OpenedCertificate = ServingCertificate & Partial<OwnCertificate>

/** Opens the certificate that is configured: from files, or made here; what needs the API server waits for it. @throws NsmError INVALID_ARGUMENT */
export async function openCertificate(
  config: WebhookConfig,
  log: Logger,
  { client }: Pick<Cluster, 'client'>,
  signal: AbortSignal,
): Promise<OpenedCertificate> {
  const { certFilePath, keyFilePath } = config
  if (certFilePath !== undefined && keyFilePath !== undefined)
    return fileCertificate(certFilePath, keyFilePath, log)
  if (certFilePath !== undefined || keyFilePath !== undefined) {
    throw new NsmError('INVALID_ARGUMENT', 'NSM_CERT_FILE_PATH and NSM_KEY_FILE_PATH must be set together')
  }
  if (client === undefined) return madeHere(config, log, memoryStore(), publisherOf(config, log, client))
  return persistent(
    async () => {
      const store = await storeOf(config, log, client, signal)
      return madeHere(config, log, store, publisherOf(config, log, client))
    },
    { what: 'serving certificate', log, signal },
  )
}

async function madeHere(
  { serviceName, namespace }: WebhookConfig,
  log: Logger,
  store: AuthorityStore,
  publisher: BundlePublisher,
): Promise<OpenedCertificate> {
  const service = `${serviceName}.${namespace}.svc`
  const names = [service, `${service}.cluster.local`, 'localhost', '127.0.0.1', '::1'] as const
  try {
    return await ownCertificate({ names: [...names], store, publisher, log })
  } catch (err) {
    store.close()
    publisher.close()
    throw err
  }
}

async function storeOf(
  { caSecret, namespace }: WebhookConfig,
  log: Logger,
  client: ApiClient,
  signal: AbortSignal,
): Promise<AuthorityStore> {
  if (caSecret === undefined) return memoryStore()
  return keptSecret({ client, namespace, name: caSecret, log, signal })
}

function publisherOf(config: WebhookConfig, log: Logger, client: ApiClient | undefined): BundlePublisher {
  const { webhookConfiguration, caBundleFilePath, serviceName, namespace } = config
  if (webhookConfiguration !== undefined && client !== undefined) {
    const service = { name: serviceName, namespace }
    return configuredBundle({ client, name: webhookConfiguration, service, log })
  }
  return caBundleFilePath === undefined ? noBundle : bundleFile(caBundleFilePath)
}
