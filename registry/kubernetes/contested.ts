import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryElement, RegistryItem } from '@nsm/sdk/registry-chain.js'

/**
 * Tells the store of names that were refused because they are another's: that one may be gone, and the replica that would know, too.
 * Goes before `authorize`.
 */
export function contested<Item extends RegistryItem, Query, Response>(
  contest: (name: string) => void,
): RegistryElement<Item, Query, Response> {
  return {
    name: 'contested',
    async register(ctx, item, next) {
      try {
        return await next.register(ctx, item)
      } catch (reason) {
        if (NsmError.from(reason).code === 'PERMISSION_DENIED') contest(item.name)
        throw reason
      }
    },
  }
}
