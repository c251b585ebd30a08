import {
  NetworkService,
  NetworkServiceEndpoint,
  type NetworkServiceEndpointQuery,
  type NetworkServiceEndpointResponse,
  type NetworkServiceQuery,
  type NetworkServiceResponse,
} from '@nsm/api/gen/registry.js'
import type { RegistryItem } from '../registry-chain.ts'
import { matchesNetworkService, matchesNetworkServiceEndpoint } from './query.ts'

/** What differs between the two registry APIs; elements that take a kind serve both. */
export interface RegistryKind<Item extends RegistryItem, Query, Response> {
  /** For messages: `network service` or `network service endpoint`. */
  readonly what: string
  /** Network services that an item belongs to; none for a network service itself. */
  services(item: Item): readonly string[]
  /** What the query asks for; an absent pattern asks for everything. */
  pattern(query: Query): Item
  isWatch(query: Query): boolean
  queryByName(name: string, watch: boolean): Query
  matches(pattern: Item, item: Item): boolean
  response(item: Item, deleted: boolean): Response
  itemOf(response: Response): Item | undefined
  isDeleted(response: Response): boolean
  /** When the registration ends, if it does. */
  expirationTime(item: Item): Date | undefined
  /** What to register again, given the last answer: without expiration time, since servers only lower it (§5.5). */
  renewal(answer: Item): Item
}

export const networkServiceKind: RegistryKind<NetworkService, NetworkServiceQuery, NetworkServiceResponse> = {
  what: 'network service',
  services: () => [],
  pattern: (query) => query.networkService ?? NetworkService.fromPartial({}),
  isWatch: (query) => query.watch,
  queryByName: (name, watch) => ({ networkService: NetworkService.fromPartial({ name }), watch }),
  matches: matchesNetworkService,
  response: (networkService, deleted) => ({ networkService, deleted }),
  itemOf: (response) => response.networkService,
  isDeleted: (response) => response.deleted,
  expirationTime: () => undefined,
  renewal: (answer) => answer,
}

export const networkServiceEndpointKind: RegistryKind<
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse
> = {
  what: 'network service endpoint',
  services: (item) => item.networkServiceNames,
  pattern: (query) => query.networkServiceEndpoint ?? NetworkServiceEndpoint.fromPartial({}),
  isWatch: (query) => query.watch,
  queryByName: (name, watch) => ({
    networkServiceEndpoint: NetworkServiceEndpoint.fromPartial({ name }),
    watch,
  }),
  matches: matchesNetworkServiceEndpoint,
  response: (networkServiceEndpoint, deleted) => ({ networkServiceEndpoint, deleted }),
  itemOf: (response) => response.networkServiceEndpoint,
  isDeleted: (response) => response.deleted,
  expirationTime: (item) => item.expirationTime,
  renewal: (answer) => ({ ...answer, expirationTime: undefined }),
}
