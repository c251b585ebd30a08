import { Connection, ConnectionEvent, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { Empty } from '@nsm/api/gen/google/protobuf/empty.js'
import { HealthCheckRequest, HealthCheckResponse } from '@nsm/api/gen/health.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import {
  NetworkService,
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse,
  NetworkServiceQuery,
  NetworkServiceResponse,
} from '@nsm/api/gen/registry.js'

/** Bytes to and from one message; what the generated codecs look like. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array }
  decode(bytes: Uint8Array): T
}

/** An RPC: its full name and the codecs of its two messages (wire contract §1.1). */
export interface Method<Request, Response> {
  readonly path: string
  readonly request: Codec<Request>
  readonly response: Codec<Response>
  /** Largest answer that is taken; default what the session takes. */
  readonly maxResponseBytes?: number
}

/** RPCs of one of the two registry services. */
export interface RegistryMethods<Item, Query, Response> {
  readonly register: Method<Item, Item>
  readonly find: Method<Query, Response>
  readonly unregister: Method<Item, Empty>
}

export const requestMethod: Method<NetworkServiceRequest, Connection> = {
  path: '/networkservice.NetworkService/Request',
  request: NetworkServiceRequest,
  response: Connection,
  // The next refresh sends it on, as a request.
  maxResponseBytes: 65_536,
}

export const closeMethod: Method<Connection, Empty> = {
  path: '/networkservice.NetworkService/Close',
  request: Connection,
  response: Empty,
}

export const monitorMethod: Method<MonitorScopeSelector, ConnectionEvent> = {
  path: '/connection.MonitorConnection/MonitorConnections',
  request: MonitorScopeSelector,
  response: ConnectionEvent,
}

export const healthCheckMethod: Method<HealthCheckRequest, HealthCheckResponse> = {
  path: '/grpc.health.v1.Health/Check',
  request: HealthCheckRequest,
  response: HealthCheckResponse,
}

export const healthWatchMethod: Method<HealthCheckRequest, HealthCheckResponse> = {
  ...healthCheckMethod,
  path: '/grpc.health.v1.Health/Watch',
}

export const networkServicesMethods: RegistryMethods<
  NetworkService,
  NetworkServiceQuery,
  NetworkServiceResponse
> = registryMethods('registry.NetworkServiceRegistry', {
  item: NetworkService,
  query: NetworkServiceQuery,
  response: NetworkServiceResponse,
})

export const networkServiceEndpointsMethods: RegistryMethods<
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse
> = registryMethods('registry.NetworkServiceEndpointRegistry', {
  item: NetworkServiceEndpoint,
  query: NetworkServiceEndpointQuery,
  response: NetworkServiceEndpointResponse,
})

function registryMethods<Item, Query, Response>(
  service: string,
  codecs: { item: Codec<Item>; query: Codec<Query>; response: Codec<Response> },
): RegistryMethods<Item, Query, Response> {
  const { item, query, response } = codecs
  return {
    register: { path: `/${service}/Register`, request: item, response: item },
    find: { path: `/${service}/Find`, request: query, response },
    unregister: { path: `/${service}/Unregister`, request: item, response: Empty },
  }
}
