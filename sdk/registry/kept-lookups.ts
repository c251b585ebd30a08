import type { Ctx } from '../ctx.ts'
import type { Registry, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'
import { watchedLookup, type WatchedLookup } from './watched-lookup.ts'

export interface LookupCacheOptions {
  /** Lookups that are watched at one time; the one that was not asked for longest gives way. Default 64. */
  readonly maxLookups?: number
  /** Objects of one lookup; what finds more is asked for each time. Default 1,024. */
  readonly maxItems?: number
  /** How long a lookup is watched that nobody asks for; default 10 s: less than two refreshes of what it finds. */
  readonly idleMs?: number
}

/** Lookups that are watched, by what they ask for. */
export interface KeptLookups<Item, Query, Response> {
  /** Living objects that fit; empty = the registry must be asked. */
  known(ctx: Ctx, query: Query): Item[]
  /** The watched lookup that asks for the same. */
  get(query: Query): WatchedLookup<Item, Response> | undefined
  all(): WatchedLookup<Item, Response>[]
  /** Opens a watch unless there is one. */
  watch(ctx: Ctx, query: Query, next: Registry<Item, Query, Response>): void
  close(): void
}

interface Kept<Item, Response> {
  readonly lookup: WatchedLookup<Item, Response>
  unidle: () => void
}

export function keptLookups<Item extends RegistryItem, Query extends { readonly watch: boolean }, Response>(
  kind: RegistryKind<Item, Query, Response>,
  { maxLookups = 64, maxItems = 1_024, idleMs = 10_000 }: LookupCacheOptions,
): KeptLookups<Item, Query, Response> {
  const lookups = new Map<string, Kept<Item, Response>>()

  function drop(key: string, kept: Kept<Item, Response>): void {
    kept.unidle()
    kept.lookup.end()
    if (lookups.get(key) === kept) lookups.delete(key)
  }

  /** Asked for just now. */
  function touch(ctx: Ctx, key: string, kept: Kept<Item, Response>): void {
    lookups.delete(key)
    lookups.set(key, kept)
    kept.unidle()
    kept.unidle = ctx.clock.after(idleMs, () => drop(key, kept))
  }

  /** A name has one object at most, whichever lookup tells it. */
  function named(ctx: Ctx, pattern: Item): Item[] {
    for (const [key, kept] of lookups) {
      const item = kept.lookup.named(pattern.name)
      if (item === undefined || !isAlive(ctx, kind, item) || !kind.matches(pattern, item)) continue
      touch(ctx, key, kept)
      return [item]
    }
    return []
  }

  return {
    known(ctx, query) {
      const pattern = kind.pattern(query)
      if (pattern.name !== '') return named(ctx, pattern)
      const key = keyOf(pattern)
      const kept = lookups.get(key)
      if (kept === undefined) return []
      touch(ctx, key, kept)
      return [...(kept.lookup.all()?.values() ?? [])].filter((item) => isAlive(ctx, kind, item))
    },
    get: (query) => lookups.get(keyOf(kind.pattern(query)))?.lookup,
    all: () => [...lookups.values()].map(({ lookup }) => lookup),
    watch(ctx, query, next) {
      const pattern = kind.pattern(query)
      const key = keyOf(pattern)
      if (lookups.has(key)) return
      const watching = pattern.name === '' ? { ...query, watch: true } : kind.queryByName(pattern.name, true)
      const broken = (): void => drop(key, kept)
      const lookup = watchedLookup(ctx, { kind, query: watching, next, maxItems, broken })
      const kept: Kept<Item, Response> = { lookup, unidle: () => undefined }
      touch(ctx, key, kept)
      for (const [oldest, one] of lookups) if (lookups.size > maxLookups) drop(oldest, one)
    },
    close() {
      for (const [key, kept] of lookups) drop(key, kept)
    },
  }
}

/** What has a name is known by it: the rest of the pattern is held against what is found. */
function keyOf(pattern: RegistryItem): string {
  return pattern.name === '' ? JSON.stringify(pattern) : pattern.name
}

function isAlive<Item extends RegistryItem>(
  ctx: Ctx,
  kind: { expirationTime(item: Item): Date | undefined },
  item: Item,
): boolean {
  return (kind.expirationTime(item)?.getTime() ?? Infinity) > ctx.clock.now()
}
