import type { RegistryElement, RegistryItem } from '@nsm/sdk/registry-chain.js'
import { turns } from '@nsm/sdk/registry/turns.js'

/** Calls that may wait for one name. */
const maxWaiting = 64

/** Runs the calls of one name one after another and remembers nothing: the next call may go to another replica. */
export function inTurn<Item extends RegistryItem, Query, Response>(): RegistryElement<Item, Query, Response> {
  const queue = turns(maxWaiting)
  return {
    name: 'inturn',
    register: (ctx, item, next) => queue.run(item.name, ctx.signal, () => next.register(ctx, item)),
    unregister: (ctx, item, next) => queue.run(item.name, ctx.signal, () => next.unregister(ctx, item)),
  }
}
