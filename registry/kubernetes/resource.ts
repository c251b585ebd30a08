import { isDeepStrictEqual } from 'node:util'
import type {
  NetworkService,
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse,
  NetworkServiceQuery,
  NetworkServiceResponse,
} from '@nsm/api/gen/registry.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { networkServiceEndpointKind, networkServiceKind, type RegistryKind } from '@nsm/sdk/registry/kind.js'
import { checkedEndpoint, checkedService } from '@nsm/sdk/registry/validate.js'
import {
  decodeNetworkService,
  decodeNetworkServiceEndpoint,
  encodeNetworkService,
  encodeNetworkServiceEndpoint,
} from './codec.ts'
import type { Fields } from './spec-reader.ts'

const group = 'networkservicemesh.io'
const version = 'v1'

/** How one kind of registry object lies in Kubernetes (wire contract §11.1). */
export interface Resource<Item extends RegistryItem, Query, Response> {
  readonly kind: RegistryKind<Item, Query, Response>
  /** As in the object: `NetworkService`. */
  readonly kindName: string
  readonly plural: string
  /** Of the spec: those that the registry writes. */
  readonly fields: readonly string[]
  /** @throws NsmError INVALID_ARGUMENT that names the field */
  decode(object: KubernetesObject): Item
  encode(item: Item): Fields
  /** The same with another end of life. */
  expiring(item: Item, atMs: number): Item
}

export const networkServiceResource: Resource<NetworkService, NetworkServiceQuery, NetworkServiceResponse> = {
  kind: networkServiceKind,
  kindName: 'NetworkService',
  plural: 'networkservices',
  fields: ['name', 'payload', 'matches', 'path_ids'],
  decode: ({ metadata, ['spec']: spec }) => checkedService(decodeNetworkService(spec, metadata.name ?? '')),
  encode: encodeNetworkService,
  expiring: (item) => item,
}

export const networkServiceEndpointResource: Resource<
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse
> = {
  kind: networkServiceEndpointKind,
  kindName: 'NetworkServiceEndpoint',
  plural: 'networkserviceendpoints',
  fields: [
    'name',
    'network_service_names',
    'network_service_labels',
    'url',
    'expiration_time',
    'initial_registration_time',
    'path_ids',
  ],
  decode: ({ metadata, ['spec']: spec }) =>
    checkedEndpoint(decodeNetworkServiceEndpoint(spec, metadata.name ?? '')),
  encode: encodeNetworkServiceEndpoint,
  expiring: (item, atMs) => ({ ...item, expirationTime: new Date(atMs) }),
}

type AnyResource = Pick<Resource<RegistryItem, unknown, unknown>, 'plural'>

/** Path of a collection: in one namespace, or in all. */
export function collectionPath({ plural }: AnyResource, namespace?: string): string {
  const scope = namespace === undefined ? '' : `namespaces/${namespace}/`
  return `/apis/${group}/${version}/${scope}${plural}`
}

/** Path of one object. */
export function objectPath(
  resource: AnyResource,
  { namespace = '', name = '' }: { namespace?: string; name?: string },
): string {
  return `${collectionPath(resource, namespace)}/${name}`
}

/** The object for an item that is not there yet. */
export function newObject<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  namespace: string,
  item: Item,
): KubernetesObject {
  return {
    ...typeOf(resource),
    metadata: { name: item.name, namespace },
    spec: resource.encode(item),
  }
}

/** The object with another item in it: whatever the registry does not know, and each field that means the same, stays as it is. */
export function changedObject<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  object: KubernetesObject,
  [before, after]: readonly [Item | undefined, Item],
): KubernetesObject {
  const old = before === undefined ? undefined : resource.encode(before)
  const now = resource.encode(after)
  const spec = { ...(object['spec'] as Fields | undefined) }
  for (const field of resource.fields) {
    if (old !== undefined && isDeepStrictEqual(old[field], now[field])) continue
    if (now[field] === undefined) delete spec[field]
    else spec[field] = now[field]
  }
  return { ...object, ...typeOf(resource), spec }
}

function typeOf({ kindName }: { readonly kindName: string }): { apiVersion: string; kind: string } {
  return { apiVersion: `${group}/${version}`, kind: kindName }
}

/** As the API server checks names of objects: a DNS subdomain. */
export function isObjectName(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name)
}
