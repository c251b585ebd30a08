import { NsmError } from '@nsm/sdk/errors.js'
import { ownClusterDns } from './cluster-dns.ts'
import type { WebhookConfig } from './config.ts'
import type { InjectionSettings } from './inject.ts'

/** What the operator configured, with what is known of the cluster. @throws NsmError INVALID_ARGUMENT */
export async function settingsOf(config: WebhookConfig, nativeSidecars: boolean): Promise<InjectionSettings> {
  const { limitsCpu, limitsMemory, requestsCpu, requestsMemory } = config
  return {
    ...config,
    nativeSidecars,
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
