import type { Registry, RegistryItem } from '../registry-chain.ts'
import { finder } from './find.ts'
import type { RegistryKind } from './kind.ts'
import { objectTable, type ObjectLimits } from './object-table.ts'
import { watchers, type WatchLimits } from './watchers.ts'

export interface MemoryLimits extends ObjectLimits {
  readonly watches: WatchLimits
}

export interface MemoryRegistry<Item, Query, Response> extends Registry<Item, Query, Response> {
  /** Objects that are registered. */
  readonly size: number
}

/** Of a registry for one cluster. */
export const defaultMemoryLimits: MemoryLimits = {
  objects: 200_000,
  objectsPerOwner: 10_000,
  watches: { total: 65_536, perPeer: 8192, waiting: 200_000 },
}

/** A registry that keeps its objects in memory, as the end of a chain (§5.6). */
export function memoryRegistry<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  limits: MemoryLimits = defaultMemoryLimits,
): MemoryRegistry<Item, Query, Response> {
  const objects = objectTable(kind, limits)
  const watches = watchers(kind, limits.watches)

  return {
    get size() {
      return objects.size
    },

    async register(_ctx, item) {
      objects.put(item)
      watches.publish(item, false)
      return item
    },

    find: finder(kind, objects, watches),

    async unregister(_ctx, item) {
      const stored = objects.delete(item.name)
      if (stored !== undefined) watches.publish(stored, true)
    },
  }
}
