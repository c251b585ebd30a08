import {
  commonVariables,
  identityVariables,
  unsupportedEverywhere,
  type CommonConfig,
  type IdentityConfig,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { serverPolicies } from '@nsm/sdk/process/policy-variables.js'
import { choice, duration, integer, optional, text, url, urls } from '@nsm/sdk/process/variables.js'

/** Where registrations are kept. */
export type StoreName = 'memory' | 'kubernetes'

/** Of the store `kubernetes`. */
export interface KubernetesConfig {
  readonly namespace: string
  readonly kubeletQps: number
  readonly expirePeriodMs: number
  readonly kubeconfig: string | undefined
}

/** Configuration of the registry (wire contract §7.1, §7.2 cmd-registry-memory, cmd-registry-k8s). */
export interface RegistryConfig extends CommonConfig, IdentityConfig, KubernetesConfig {
  readonly store: StoreName
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
    store: choice(
      'NSM_STORE',
      'memory',
      'where registrations are kept: in this process, or as custom resources that any number of replicas share',
      ['memory', 'kubernetes'],
    ),
    namespace: text(
      'NSM_NAMESPACE',
      'default',
      'store kubernetes: where registrations are written; looked up are those of all namespaces',
    ),
    kubeletQps: integer(
      'NSM_KUBELET_QPS',
      '205',
      'store kubernetes: most calls of the API server a second, but for watches',
      [1, 100_000],
    ),
    expirePeriodMs: duration(
      'NSM_EXPIRE_PERIOD',
      '1m',
      'store kubernetes: longest life of a registration that is not refreshed; in memory it is one minute',
    ),
    kubeconfig: optional(
      text(
        'KUBECONFIG',
        undefined,
        'store kubernetes: file that tells the API server and how to be somebody there; in a pod its service account does',
      ),
    ),
  },
  unsupportedEverywhere,
)
