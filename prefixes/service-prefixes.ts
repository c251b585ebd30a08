import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { contains, parseAddress, parsePrefix, type Address, type Prefix } from '@nsm/sdk/net/prefix.js'

/** networking.k8s.io/v1 ServiceCIDR. */
export interface ServiceCidrObject extends KubernetesObject {
  readonly spec?: { readonly cidrs?: readonly string[] }
}

export function serviceCidrPrefixes({ spec }: ServiceCidrObject): readonly Prefix[] {
  return (spec?.cidrs ?? []).map(parsePrefix).filter((prefix) => prefix !== undefined)
}

/** The part of a Service that counts here. */
export interface ServiceObject extends KubernetesObject {
  readonly spec?: { readonly clusterIP?: string; readonly clusterIPs?: readonly string[] }
}

/** A Service without what doesn't count here. */
export function leanService({ metadata, spec }: ServiceObject): ServiceObject {
  const { namespace = '', name = '', uid = '', resourceVersion = '' } = metadata
  const { clusterIP, clusterIPs = clusterIP === undefined ? [] : [clusterIP] } = spec ?? {}
  return { metadata: { namespace, name, uid, resourceVersion }, spec: { clusterIPs } }
}

/** The smallest ranges that installers give a cluster's services. */
const smallest = { 4: 20, 6: 112 } as const

/**
 * What the service ranges must contain, judged by the addresses in use: one range for each family, and not less than any installer gives.
 * Services without an address (headless, external names) tell nothing.
 */
export function derivedServicePrefixes(services: Iterable<ServiceObject>): readonly Prefix[] {
  const found = new Map<number, Prefix>()
  for (const { spec } of services) {
    for (const text of spec?.clusterIPs ?? []) {
      const address = parseAddress(text)
      if (address === undefined) continue
      const { family } = address
      const range = found.get(family) ?? { address, length: smallest[family] }
      found.set(family, widened(range, address))
    }
  }
  return [...found.values()]
}

function widened(range: Prefix, address: Address): Prefix {
  let { length } = range
  while (!contains({ address: range.address, length }, address)) length -= 1
  return { address: range.address, length }
}
