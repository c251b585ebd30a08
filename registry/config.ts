import {
  commonVariables,
  identityVariables,
  unsupportedEverywhere,
  type CommonConfig,
  type IdentityConfig,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { serverPolicies } from '@nsm/sdk/process/policy-variables.js'
import { duration, optional, url, urls } from '@nsm/sdk/process/variables.js'

/** Configuration of the registry (wire contract §7.1, §7.2 cmd-registry-memory). */
export interface RegistryConfig extends CommonConfig, IdentityConfig {
  readonly listenOn: readonly string[]
  readonly proxyRegistryUrl: string | undefined
  readonly serverPolicies: readonly string[]
  readonly dialTimeoutMs: number
}

/** Reads it from the environment. */
export const registryConfig: ConfigSchema<RegistryConfig> = defineConfig<RegistryConfig>(
  {
    ...commonVariables(':8082'),
    ...identityVariables,
    listenOn: urls('NSM_LISTEN_ON', 'unix:///listen.on.socket', 'where nsmgrs and other clients connect'),
    proxyRegistryUrl: optional(
      url('NSM_PROXY_REGISTRY_URL', undefined, 'where names of other domains (name@domain) are forwarded to'),
    ),
    serverPolicies: serverPolicies(),
    dialTimeoutMs: duration(
      'NSM_DIAL_TIMEOUT',
      '300ms',
      'how long a session to the proxy may take to come up',
    ),
  },
  {
    ...unsupportedEverywhere,
    NSM_EXPIRE_PERIOD: 'registrations live one minute between two refreshes, as the contract says',
  },
)
