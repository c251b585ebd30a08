import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { hostPrefix, parseAddress, parsePrefix, type Prefix } from '@nsm/sdk/net/prefix.js'

/** The part of a node that counts here. */
export interface NodeObject extends KubernetesObject {
  readonly spec?: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] }
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] }
}

/** A node without what changes each few seconds. */
export function leanNode({ metadata, spec, status }: NodeObject): NodeObject {
  const { name = '', uid = '', resourceVersion = '' } = metadata
  const { podCIDR, podCIDRs = podCIDR === undefined ? [] : [podCIDR] } = spec ?? {}
  return {
    metadata: { name, uid, resourceVersion },
    spec: { podCIDRs },
    status: { addresses: (status?.addresses ?? []).map(({ type, address }) => ({ type, address })) },
  }
}

/** Where the pods of a node get their addresses, and the node's own. */
export function nodePrefixes({ spec, status }: NodeObject): readonly Prefix[] {
  const pods = (spec?.podCIDRs ?? []).map(parsePrefix)
  const own = (status?.addresses ?? [])
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .map(({ address }) => parseAddress(address))
    .map((address) => (address === undefined ? undefined : hostPrefix(address)))
  return [...pods, ...own].filter((prefix) => prefix !== undefined)
}
