import { withValue } from '../ctx.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import { emptyPath, registryPath, type PathCell } from './registry-path.ts'

/** Keeps the registry path of each registration that this process makes for itself, from one call to the next (§3.4). */
export function clientPath<Item extends RegistryItem, Query, Response>(): RegistryElement<
  Item,
  Query,
  Response
> {
  const cells = new Map<string, PathCell>()

  return {
    name: 'client path',

    async register(ctx, item, next) {
      const cell: PathCell = { ...(cells.get(item.name) ?? { path: emptyPath }) }
      const answer = await next.register(withValue(ctx, registryPath, cell), item)
      cells.set(item.name, cell)
      return answer
    },

    async unregister(ctx, item, next) {
      const cell = cells.get(item.name) ?? { path: emptyPath }
      await next.unregister(withValue(ctx, registryPath, { ...cell }), item)
      cells.delete(item.name)
    },
  }
}
