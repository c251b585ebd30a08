import { NsmError } from '../errors.ts'
import type { RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'

export interface ObjectLimits {
  /** Objects in total. */
  readonly objects: number
  /** Objects of one owner, which is the first of `path_ids` (§3.4). */
  readonly objectsPerOwner: number
}

/** Registered objects by name and by service. */
export interface ObjectTable<Item> {
  readonly size: number
  get(name: string): Item | undefined
  /** Puts an object in place of the one of its name. @throws NsmError RESOURCE_EXHAUSTED. */
  put(item: Item): void
  /** Puts an object that is stored elsewhere already, whatever the limits. */
  adopt(item: Item): void
  /** @throws NsmError RESOURCE_EXHAUSTED for an object that would be one too many. */
  admit(item: Item): void
  /** Answers what was there. */
  delete(name: string): Item | undefined
  /** Names of all objects that may fit a pattern, by the narrowest index. */
  candidates(pattern: Item): string[]
}

/** Each operation takes the same time with any number of objects. */
export function objectTable<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  limits: ObjectLimits,
): ObjectTable<Item> {
  const items = new Map<string, Item>()
  const byService = new Map<string, Set<string>>()
  const perOwner = new Map<string, number>()

  function admit(item: Item): void {
    if (items.has(item.name)) return
    if (items.size >= limits.objects) throw tooMany(kind.what, 'the registry', items.size)
    const owner = item.pathIds[0]
    const owned = owner === undefined ? 0 : (perOwner.get(owner) ?? 0)
    if (owned >= limits.objectsPerOwner) throw tooMany(kind.what, owner ?? '', owned)
  }

  function count(owner: string | undefined, change: 1 | -1): void {
    if (owner === undefined) return
    const now = (perOwner.get(owner) ?? 0) + change
    if (now === 0) perOwner.delete(owner)
    else perOwner.set(owner, now)
  }

  function remove(name: string): Item | undefined {
    const item = items.get(name)
    if (item === undefined) return undefined
    items.delete(name)
    for (const service of kind.services(item)) {
      const names = byService.get(service)
      names?.delete(name)
      if (names?.size === 0) byService.delete(service)
    }
    count(item.pathIds[0], -1)
    return item
  }

  function adopt(item: Item): void {
    remove(item.name)
    items.set(item.name, item)
    for (const service of kind.services(item))
      byService.set(service, (byService.get(service) ?? new Set()).add(item.name))
    count(item.pathIds[0], 1)
  }

  return {
    get size() {
      return items.size
    },

    get: (name) => items.get(name),

    put(item) {
      admit(item)
      adopt(item)
    },

    adopt,
    admit,

    delete: remove,

    candidates(pattern) {
      if (pattern.name !== '') return [pattern.name]
      const sets = kind.services(pattern).map((service) => byService.get(service) ?? new Set<string>())
      const smallest = sets.toSorted((a, b) => a.size - b.size)[0]
      return [...(smallest ?? items.keys())]
    },
  }
}

function tooMany(what: string, who: string, held: number): NsmError {
  return new NsmError('RESOURCE_EXHAUSTED', `${who} holds ${held} ${what}s, no more are allowed`)
}
