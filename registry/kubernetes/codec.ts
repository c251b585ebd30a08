import {
  type Destination,
  type Match,
  type Metadata,
  NetworkService,
  NetworkServiceEndpoint,
  type NetworkServiceLabels,
} from '@nsm/api/gen/registry.js'
import { fields, flag, list, map, text, timestamp, whole, type Fields } from './spec-reader.ts'

/** Payload of a service that names none (wire contract §1.7). */
const defaultPayload = 'IP'

/**
 * The network service in a custom resource's spec (wire contract §11.1). @param name the object's, which counts when the
 * spec has none. @throws NsmError INVALID_ARGUMENT that names the field
 */
export function decodeNetworkService(spec: unknown, name: string): NetworkService {
  const s = fields(spec, 'spec')
  return NetworkService.fromPartial({
    name: text(s['name'], 'spec.name') || name,
    payload: text(s['payload'], 'spec.payload') || defaultPayload,
    matches: list(s['matches'], 'spec.matches', match),
    pathIds: list(s['path_ids'], 'spec.path_ids', text),
  })
}

/** Likewise for an endpoint. */
export function decodeNetworkServiceEndpoint(spec: unknown, name: string): NetworkServiceEndpoint {
  const s = fields(spec, 'spec')
  return NetworkServiceEndpoint.fromPartial({
    name: text(s['name'], 'spec.name') || name,
    networkServiceNames: list(s['network_service_names'], 'spec.network_service_names', text),
    networkServiceLabels: map(s['network_service_labels'], 'spec.network_service_labels', labelled),
    url: text(s['url'], 'spec.url'),
    expirationTime: timestamp(s['expiration_time'], 'spec.expiration_time'),
    initialRegistrationTime: timestamp(s['initial_registration_time'], 'spec.initial_registration_time'),
    pathIds: list(s['path_ids'], 'spec.path_ids', text),
  })
}

/** The spec as Go's encoding/json writes it: empty fields left out, times as `{seconds, nanos}`. */
export function encodeNetworkService({ name, payload, matches, pathIds }: NetworkService): Fields {
  return filled({ name, payload, matches: matches.map(encodeMatch), path_ids: pathIds })
}

/** Likewise for an endpoint. */
export function encodeNetworkServiceEndpoint(nse: NetworkServiceEndpoint): Fields {
  const labels = Object.entries(nse.networkServiceLabels).map(([service, of]) => [service, filled({ ...of })])
  return filled({
    name: nse.name,
    network_service_names: nse.networkServiceNames,
    network_service_labels: Object.fromEntries(labels),
    url: nse.url,
    expiration_time: encodeTime(nse.expirationTime),
    initial_registration_time: encodeTime(nse.initialRegistrationTime),
    path_ids: nse.pathIds,
  })
}

/** `{seconds, nanos}` as protobuf counts them: nanos are never negative. */
function encodeTime(time: Date | undefined): Fields | undefined {
  if (time === undefined) return undefined
  const seconds = Math.floor(time.getTime() / 1000)
  const nanos = (time.getTime() - seconds * 1000) * 1_000_000
  return nanos === 0 ? { seconds } : { seconds, nanos }
}

function labelled(value: unknown, at: string): NetworkServiceLabels {
  return { labels: labelsOf(fields(value, at)['labels'], `${at}.labels`) }
}

function labelsOf(value: unknown, at: string): Record<string, string> {
  return map(value, at, text)
}

function match(value: unknown, at: string): Match {
  const m = fields(value, at)
  return {
    sourceSelector: labelsOf(m['source_selector'], `${at}.source_selector`),
    routes: list(m['routes'], `${at}.routes`, destination),
    fallthrough: flag(m['fallthrough'], `${at}.fallthrough`),
    metadata: metadata(m['metadata'], `${at}.metadata`),
  }
}

function destination(value: unknown, at: string): Destination {
  const d = fields(value, at)
  return {
    destinationSelector: labelsOf(d['destination_selector'], `${at}.destination_selector`),
    weight: whole(d['weight'], `${at}.weight`, [0, 4_294_967_295]),
  }
}

function metadata(value: unknown, at: string): Metadata | undefined {
  return value === undefined || value === null ? undefined : labelled(value, at)
}

function encodeMatch({ sourceSelector, routes, fallthrough, metadata: of }: Match): Fields {
  return filled({
    source_selector: sourceSelector,
    routes: routes.map(({ destinationSelector, weight }) =>
      filled({ destination_selector: destinationSelector, weight }),
    ),
    fallthrough,
    metadata: of && filled({ labels: of.labels }),
  })
}

/** Without what is empty, but for objects in lists, which keep their place. */
function filled(all: Fields): Fields {
  return Object.fromEntries(
    Object.entries(all).filter(([key, value]) => key !== '_unknownFields' && !isEmpty(key, value)),
  )
}

/** Metadata without labels is still metadata, for Go as for protobuf. */
function isEmpty(key: string, value: unknown): boolean {
  if (value === undefined || value === '' || value === 0 || value === false) return true
  if (Array.isArray(value)) return value.length === 0
  return typeof value === 'object' && value !== null && key !== 'metadata' && Object.keys(value).length === 0
}
