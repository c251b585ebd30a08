import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { parsePrefix, type Prefix } from '@nsm/sdk/net/prefix.js'
import { parse } from 'yaml'

interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

/** Pod and service ranges as kubeadm was told them; either may be two prefixes separated by a comma. Throws for YAML that is none. */
export function clusterConfigurationPrefixes(configMap: ConfigMap): {
  readonly pods: readonly Prefix[]
  readonly services: readonly Prefix[]
} {
  const text = configMap.data?.['ClusterConfiguration'] ?? ''
  const document = parse(text, { maxAliasCount: 0, logLevel: 'error' }) as {
    networking?: Record<string, unknown>
  } | null
  const { podSubnet, serviceSubnet } = document?.networking ?? {}
  return { pods: prefixesOf(podSubnet), services: prefixesOf(serviceSubnet) }
}

function prefixesOf(value: unknown): readonly Prefix[] {
  if (typeof value !== 'string') return []
  return value
    .split(',')
    .map((item) => parsePrefix(item.trim()))
    .filter((prefix) => prefix !== undefined)
}
