import type { Ctx } from '../ctx.ts'
import type { Registry, RegistryElement, RegistryItem } from '../registry-chain.ts'
import { keptLookups, type LookupCacheOptions } from './kept-lookups.ts'
import type { RegistryKind } from './kind.ts'

export interface LookupCacheElement<Item, Query, Response> extends RegistryElement<Item, Query, Response> {
  /** Ends all watches. */
  close(): void
}

/**
 * Answers lookups that come again and again from what a watch of the same query tells, so that a warm request costs the registry nothing.
 *
 * Watched is what was found: a network service by its name, endpoints by their service. An endpoint by its name is answered when one of these
 * watches has told it. What is not known, has expired, or is of another domain is asked for: "there is none" is always the registry's own
 * answer. Registrations that pass here are known at once.
 */
export function lookupCache<Item extends RegistryItem, Query extends { readonly watch: boolean }, Response>(
  kind: RegistryKind<Item, Query, Response>,
  options: LookupCacheOptions = {},
): LookupCacheElement<Item, Query, Response> {
  const lookups = keptLookups(kind, options)

  async function* asked(
    ctx: Ctx,
    query: Query,
    next: Registry<Item, Query, Response>,
  ): AsyncGenerator<Response, void> {
    const answer = next.find(ctx, query)
    for await (const response of lookups.get(query)?.learn(ctx, answer) ?? answer) {
      const item = kind.itemOf(response)
      if (item !== undefined && isWorthWatching(kind, query, item)) lookups.watch(ctx, query, next)
      yield response
    }
  }

  return {
    name: 'lookup cache',

    async register(ctx, item, next) {
      const answer = await next.register(ctx, item)
      for (const lookup of lookups.all()) lookup.registered(answer, true)
      return answer
    },

    find(ctx, query, next) {
      if (!isCacheable(kind, query)) return next.find(ctx, query)
      const known = lookups.known(ctx, query)
      return known.length > 0 ? responses(kind, known) : asked(ctx, query, next)
    },

    async unregister(ctx, item, next) {
      await next.unregister(ctx, item)
      for (const lookup of lookups.all()) lookup.registered(item, false)
    },

    close: () => lookups.close(),
  }
}

async function* responses<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  items: readonly Item[],
): AsyncGenerator<Response, void> {
  for (const item of items) yield kind.response(item, false)
}

/** Neither watches, nor lookups of everything, nor those in other domains. */
function isCacheable<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  query: Query,
): boolean {
  const pattern = kind.pattern(query)
  const names = [pattern.name, ...kind.services(pattern)]
  return (
    !kind.isWatch(query) && names.some((name) => name !== '') && !names.some((name) => name.includes('@'))
  )
}

/** Endpoints are watched by their service alone: each has a name, and there may be very many. */
function isWorthWatching<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  query: Query,
  found: Item,
): boolean {
  return kind.pattern(query).name === '' || kind.services(found).length === 0
}
