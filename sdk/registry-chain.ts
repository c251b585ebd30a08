import type {
  NetworkService,
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse,
  NetworkServiceQuery,
  NetworkServiceResponse,
} from '@nsm/api/gen/registry.js'
import type { Ctx } from './ctx.ts'

/** Something that can answer calls of one of the two registry APIs: a whole chain, or a client to a remote one. */
export interface Registry<Item, Query, Response> {
  register(ctx: Ctx, item: Item): Promise<Item>
  /** Ends after the present matches, or with `watch` goes on until the context ends (§5.6). */
  find(ctx: Ctx, query: Query): AsyncIterable<Response>
  unregister(ctx: Ctx, item: Item): Promise<void>
}

/** One link of a registry chain. A method left out passes straight through to `next`. */
export interface RegistryElement<Item, Query, Response> {
  readonly name: string
  register?(ctx: Ctx, item: Item, next: Registry<Item, Query, Response>): Promise<Item>
  find?(ctx: Ctx, query: Query, next: Registry<Item, Query, Response>): AsyncIterable<Response>
  unregister?(ctx: Ctx, item: Item, next: Registry<Item, Query, Response>): Promise<void>
}

export type NetworkServiceRegistry = Registry<NetworkService, NetworkServiceQuery, NetworkServiceResponse>
export type NetworkServiceEndpointRegistry = Registry<
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse
>
export type NetworkServiceElement = RegistryElement<
  NetworkService,
  NetworkServiceQuery,
  NetworkServiceResponse
>
export type NetworkServiceEndpointElement = RegistryElement<
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse
>

/** What both kinds of object share; elements written for it serve both APIs. */
export interface RegistryItem {
  readonly name: string
  readonly pathIds: string[]
}

/** Composes elements into a registry; the first element sees a call first. Without `end`, items are answered as they came and nothing is found. */
export function registryChain<Item, Query, Response>(
  elements: readonly RegistryElement<Item, Query, Response>[],
  end: Registry<Item, Query, Response> = emptyRegistry(),
): Registry<Item, Query, Response> {
  return elements.reduceRight<Registry<Item, Query, Response>>(link, end)
}

function link<Item, Query, Response>(
  next: Registry<Item, Query, Response>,
  element: RegistryElement<Item, Query, Response>,
): Registry<Item, Query, Response> {
  return {
    register: (ctx, item) => element.register?.(ctx, item, next) ?? next.register(ctx, item),
    find: (ctx, query) => element.find?.(ctx, query, next) ?? next.find(ctx, query),
    unregister: (ctx, item) => element.unregister?.(ctx, item, next) ?? next.unregister(ctx, item),
  }
}

function emptyRegistry<Item, Query, Response>(): Registry<Item, Query, Response> {
  return {
    register: async (_ctx, item) => item,
    // oxlint-disable-next-line require-yield -- an empty answer
    find: async function* () {},
    unregister: async () => undefined,
  }
}
