import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { checks } from '@nsm/sdk/process/checks.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import type { ServingCertificate } from './certificate.ts'
import type { WebhookConfig } from './config.ts'
import { fileCertificate } from './file-certificate.ts'
import type { InjectionSettings } from './inject.ts'
import { ownClusterDns } from './cluster-dns.ts'
import { webhookMetrics } from './metrics.ts'
import { namespacesFromFile, noNamespaces } from './namespaces.ts'
import { ownCertificate } from './own-certificate.ts'
import { webhookServer } from './server.ts'

/** Starts the admission webhook; it needs nothing else of the mesh. */
export async function startWebhook(config: WebhookConfig, log: Logger): Promise<Service> {
  const metrics = webhookMetrics()
  const namespaces =
    config.namespacesFile === undefined ? noNamespaces : await namespacesFromFile(config.namespacesFile, log)
  const certificate = await servingCertificate(config, log)
  metrics.certificate(() => certificate.current.expires)
  const server = await webhookServer({
    listenOn: config.listenOn,
    certificate,
    settings: await settingsOf(config),
    namespaces,
    log,
    admitted: metrics.admitted,
  })
  const ready = checks()
  ready.add('certificate', () =>
    certificate.current.expires.getTime() > Date.now() ? undefined : 'the serving certificate has expired',
  )
  const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics: metrics.process })
  log.info({ port: server.port, ops: ops.address }, 'listening')
  return {
    close: async (signal) => {
      certificate.close()
      namespaces.close()
      await Promise.all([server.close(signal), ops.close()])
    },
  }
}

async function servingCertificate(config: WebhookConfig, log: Logger): Promise<ServingCertificate> {
  const { certFilePath, keyFilePath, caBundleFilePath, serviceName, namespace } = config
  if (certFilePath !== undefined && keyFilePath !== undefined)
    return fileCertificate(certFilePath, keyFilePath, log)
  if (certFilePath !== undefined || keyFilePath !== undefined) {
    throw new NsmError('INVALID_ARGUMENT', 'NSM_CERT_FILE_PATH and NSM_KEY_FILE_PATH must be set together')
  }
  const service = `${serviceName}.${namespace}.svc`
  return ownCertificate({
    names: [service, `${service}.cluster.local`, 'localhost', '127.0.0.1', '::1'],
    log,
    ...(caBundleFilePath === undefined ? {} : { caBundlePath: caBundleFilePath }),
  })
}

async function settingsOf(config: WebhookConfig): Promise<InjectionSettings> {
  const { limitsCpu, limitsMemory, requestsCpu, requestsMemory } = config
  return {
    ...config,
    resources: { limitsCpu, limitsMemory, requestsCpu, requestsMemory },
    dns: await dnsSettingsOf(config),
  }
}

async function dnsSettingsOf(config: WebhookConfig): Promise<InjectionSettings['dns']> {
  const { dnsImage, dnsMode = dnsImage === undefined ? 'embedded' : 'coredns' } = config
  if (dnsMode === 'coredns' && dnsImage === undefined)
    throw new NsmError('INVALID_ARGUMENT', 'NSM_DNS_MODE=coredns needs NSM_DNS_IMAGE')
  return {
    mode: dnsMode,
    image: dnsImage ?? '',
    resolvConf: config.dnsResolvConf,
    cluster: await ownClusterDns(config.dnsClusterDomain, config.dnsClusterServers),
    resources: {
      limitsCpu: config.dnsLimitsCpu,
      limitsMemory: config.dnsLimitsMemory,
      requestsCpu: config.dnsRequestsCpu,
      requestsMemory: config.dnsRequestsMemory,
    },
  }
}
