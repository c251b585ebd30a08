import { payloads } from '@nsm/api/constants.js'
import type { DNSConfig } from '@nsm/api/gen/connectioncontext.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { parsePrefixGroups } from '@nsm/sdk/net/prefix-groups.js'
import {
  commonVariables,
  connectTo,
  identityVariables,
  placementVariables,
  unsupportedEverywhere,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { boolean, choice, custom, duration, list, map, optional, text } from '@nsm/sdk/process/variables.js'
import { parseDnsConfigs } from './dns-configs.ts'
import type { EndpointConfig } from './endpoint.ts'

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
    // Not :8080: what an endpoint's pod serves to its clients often is.
    ...commonVariables(':9081'),
    ...identityVariables,
    ...placementVariables,
    ...connectTo(),
    name: text('NSM_NAME', 'icmp-server', 'name of the endpoint; no neighbour on a path may have the same'),
    baseDir: optional(
      text(
        'NSM_BASE_DIR',
        undefined,
        'where the folder of the socket is made; unset = the system’s temporary folder',
      ),
    ),
    ipamPolicy: choice(
      'NSM_IPAM_POLICY',
      'polite',
      'polite leaves a client the addresses that it brings, strict resets those from outside the pools',
      ['polite', 'strict'],
    ),
    serviceNames: list('NSM_SERVICE_NAMES', 'icmp-responder', 'network services that the endpoint serves'),
    payload: choice('NSM_PAYLOAD', payloads.ETHERNET, 'payload of these services', [
      payloads.ETHERNET,
      payloads.IP,
    ]),
    labels: map('NSM_LABELS', '', 'labels of the endpoint, for every service'),
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
    idleTimeoutMs: duration(
      'NSM_IDLE_TIMEOUT',
      '0',
      'how long without connections before the endpoint exits; 0 = never',
    ),
    registerService: boolean(
      'NSM_REGISTER_SERVICE',
      'true',
      'whether the network services are registered, too',
    ),
    unregisterItself: boolean(
      'NSM_UNREGISTER_ITSELF',
      'false',
      'whether the endpoint is unregistered when it exits',
    ),
    policyRoutesPath: text(
      'NSM_PBR_CONFIG_PATH',
      '/etc/policy-based-routing/config.yaml',
      'YAML file with policy routes for clients; read again when it changes',
    ),
  },
  unsupportedEverywhere,
)
