import { setImmediate } from 'node:timers/promises'
import type { Ctx } from '../ctx.ts'
import type { Registry, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'
import type { Watchers } from './watchers.ts'

/** Objects looked at between two turns of the event loop. */
const batch = 256

/** Where a registry has its objects. */
export interface Found<Item> {
  /** Names of those that may match. */
  candidates(pattern: Item): readonly string[]
  /** What is registered under a name now. */
  get(name: string): Item | undefined
}

/** `Find` of a registry that has its objects at hand: what there is, and what becomes of it when the query watches (wire contract §5.6). */
export function finder<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  objects: Found<Item>,
  watches: Watchers<Item, Response>,
): Registry<Item, Query, Response>['find'] {
  async function* present(ctx: Ctx, pattern: Item): AsyncGenerator<Response, void, undefined> {
    for (const [n, name] of objects.candidates(pattern).entries()) {
      if (ctx.signal.aborted) return
      const item = objects.get(name)
      if (item !== undefined && kind.matches(pattern, item)) yield kind.response(item, false)
      if (n % batch === batch - 1) await setImmediate()
    }
  }

  return async function* find(ctx, query) {
    const pattern = kind.pattern(query)
    const watch = kind.isWatch(query) ? watches.open(ctx, pattern) : undefined
    try {
      yield* present(ctx, pattern)
      if (watch !== undefined) yield* watch.events(ctx.signal)
    } finally {
      watch?.close()
    }
  }
}
