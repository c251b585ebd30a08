import { NsmError } from '../errors.ts'
import type { Registry, RegistryElement, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'

/** Hands what names another domain (`name@domain`) over to `proxy`; without one it is refused (§5.6, §8.1). */
export function interdomain<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  proxy: Registry<Item, Query, Response> | undefined,
): RegistryElement<Item, Query, Response> {
  function choose(item: Item, next: Registry<Item, Query, Response>): Registry<Item, Query, Response> {
    const name = [item.name, ...kind.services(item)].find((text) => text.includes('@'))
    if (name === undefined) return next
    if (proxy === undefined)
      throw new NsmError(
        'FAILED_PRECONDITION',
        `${kind.what} ${name} is of another domain, and NSM_PROXY_REGISTRY_URL is not set`,
      )
    return proxy
  }

  return {
    name: 'interdomain',
    register: async (ctx, item, next) => choose(item, next).register(ctx, item),
    find: async function* (ctx, query, next) {
      yield* choose(kind.pattern(query), next).find(ctx, query)
    },
    unregister: async (ctx, item, next) => choose(item, next).unregister(ctx, item),
  }
}
