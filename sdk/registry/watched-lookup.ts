import { background, type Ctx } from '../ctx.ts'
import type { Registry, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'
import { lookupItems } from './lookup-items.ts'

/** A lookup whose answer is kept up to date by a watch. */
export interface WatchedLookup<Item, Response> {
  /** The objects that it finds; undefined while that is not sure. */
  all(): ReadonlyMap<string, Item> | undefined
  /** The object of this name, if the watch has told it. */
  named(name: string): Item | undefined
  /** Sees an answer to the same lookup pass: the watch tells changes, only a whole answer tells that this is all. */
  learn(ctx: Ctx, answer: AsyncIterable<Response>): AsyncIterable<Response>
  /** What this process registers is known before the watch tells it; an object that does not fit any more it never tells. */
  registered(item: Item, isThere: boolean): void
  end(): void
}

export interface WatchedLookupOptions<Item extends RegistryItem, Query, Response> {
  readonly kind: RegistryKind<Item, Query, Response>
  /** With `watch` set. */
  readonly query: Query
  readonly next: Registry<Item, Query, Response>
  /** A lookup that finds more is not kept. */
  readonly maxItems: number
  /** Called once the watch has broken. */
  broken(): void
}

/** Opens the watch. Of `ctx` only log and clock are used. */
export function watchedLookup<Item extends RegistryItem, Query, Response>(
  ctx: Ctx,
  options: WatchedLookupOptions<Item, Query, Response>,
): WatchedLookup<Item, Response> {
  const { kind, query, next, maxItems } = options
  const controller = new AbortController()
  const items = lookupItems(kind, kind.pattern(query), maxItems)
  let opened = false

  function end(): void {
    controller.abort()
    items.clear()
    opened = false
  }

  async function follow(): Promise<void> {
    const inner = background({ log: ctx.log, clock: ctx.clock, signal: controller.signal })
    for await (const response of next.find(inner, query)) {
      const item = kind.itemOf(response)
      if (item === undefined || controller.signal.aborted) continue
      opened = true
      items.tell(item, !kind.isDeleted(response))
      if (items.isOverfull) end()
    }
  }

  async function* learned({ signal }: Ctx, answer: AsyncIterable<Response>): AsyncGenerator<Response, void> {
    // Counts only when it was asked for after the watch had been opened at the registry.
    const counts = opened && !items.isComplete
    const found: Item[] = []
    for await (const response of answer) {
      const item = kind.itemOf(response)
      if (counts && item !== undefined && found.length <= maxItems) found.push(item)
      yield response
    }
    if (counts && !signal.aborted && !controller.signal.aborted) items.complete(found)
  }

  follow()
    .catch((err: unknown) => ctx.log.debug({ what: kind.what, err: String(err) }, 'watch for lookups broke'))
    .finally(() => {
      end()
      if (!items.isOverfull) options.broken()
    })

  return {
    all: () => items.all(),
    named: (name) => items.named(name),
    learn: learned,
    registered: (item, isThere) => items.tell(item, isThere),
    end,
  }
}
