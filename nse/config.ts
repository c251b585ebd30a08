import type { DNSConfig } from '@nsm/api/gen/connectioncontext.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { parsePrefixGroups } from '@nsm/sdk/net/prefix-groups.js'
import { unsupportedEverywhere } from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { choice, custom, text } from '@nsm/sdk/process/variables.js'
import { parseDnsConfigs } from './dns-configs.ts'
import type { EndpointConfig } from './endpoint.ts'
import { endpointVariables } from './endpoint-variables.ts'

/** Configuration of the icmp-responder (wire contract §7.1, §7.2 cmd-nse-icmp-responder). */
export interface IcmpResponderConfig extends EndpointConfig {
  readonly ipamPolicy: 'polite' | 'strict'
  readonly prefixGroups: readonly (readonly Prefix[])[]
  readonly dnsConfigs: readonly DNSConfig[]
  readonly policyRoutesPath: string
}

/** Reads it from the environment. */
export const icmpResponderConfig: ConfigSchema<IcmpResponderConfig> = defineConfig<IcmpResponderConfig>(
  {
    ...endpointVariables('icmp-server', 'icmp-responder'),
    ipamPolicy: choice(
      'NSM_IPAM_POLICY',
      'polite',
      'polite leaves a client the addresses that it brings, strict resets those from outside the pools',
      ['polite', 'strict'],
    ),
    dnsConfigs: custom('JSON list', parseDnsConfigs, [
      'NSM_DNS_CONFIGS',
      '[]',
      'what clients get for their DNS, as [{"dns_server_ips":["172.16.1.100"],"search_domains":["my.service"]}]',
    ]),
    prefixGroups: custom('address pools', parsePrefixGroups, [
      'NSM_CIDR_PREFIX',
      '169.254.0.0/16',
      'address pools: a,b gives a pair of addresses of each prefix, [a,b],[c] one of each group',
    ]),
    policyRoutesPath: text(
      'NSM_PBR_CONFIG_PATH',
      '/etc/policy-based-routing/config.yaml',
      'YAML file with policy routes for clients; read again when it changes',
    ),
  },
  unsupportedEverywhere,
)
