import type { RegistryItem } from '../registry-chain.ts'

/** The objects that one lookup finds, as far as its watch and whole answers to it have told. */
export interface LookupItems<Item> {
  /** All of them; undefined while that is not sure. */
  all(): ReadonlyMap<string, Item> | undefined
  named(name: string): Item | undefined
  /** What the watch, or a registration that was made here, tells of one object. */
  tell(item: Item, isThere: boolean): void
  /** A whole answer to the lookup; what has been told otherwise knows better. */
  complete(answer: readonly Item[]): void
  readonly isComplete: boolean
  /** More than `max` objects were told: nothing is kept any more. */
  readonly isOverfull: boolean
  clear(): void
}

export function lookupItems<Item extends RegistryItem>(
  kind: { matches(pattern: Item, item: Item): boolean },
  pattern: Item,
  max: number,
): LookupItems<Item> {
  const items = new Map<string, Item>()
  /** Names that have been told of before the lookup is complete. */
  const told = new Set<string>()
  let isComplete = false
  let isOverfull = false

  function clear(): void {
    items.clear()
    told.clear()
    isComplete = false
  }

  function put(item: Item): void {
    if (!isOverfull) items.set(item.name, item)
    if (items.size <= max) return
    isOverfull = true
    clear()
  }

  return {
    all: () => (isComplete ? items : undefined),
    named: (name) => items.get(name),
    tell(item, isThere) {
      if (!isComplete && !isOverfull) told.add(item.name)
      if (isThere && kind.matches(pattern, item)) put(item)
      else items.delete(item.name)
    },
    complete(answer) {
      for (const item of answer) if (!told.has(item.name)) put(item)
      isComplete = !isOverfull
      told.clear()
    },
    get isComplete() {
      return isComplete
    },
    get isOverfull() {
      return isOverfull
    },
    clear,
  }
}
