import { contains, rangeOf, type Address, type Prefix } from './prefix.ts'
import { rangeSet, type Range, type RangeSet } from './range-set.ts'

/** Addresses of one prefix, network and broadcast address included; each is given to one holder at a time. */
export interface AddressPool {
  readonly prefix: Prefix
  /** The lowest free address outside the exclusions, now taken; undefined when there is none. */
  allocate(excluded: Exclusions): Address | undefined
  /** Takes this very address; false when it is outside the pool or taken. */
  take(address: Address): boolean
  /** Gives an address back; one that was not taken stays as it is. */
  release(address: Address): void
}

/** Makes a pool. It costs the same for a /127 and a /0: nothing is enumerated. */
export function addressPool(prefix: Prefix): AddressPool {
  const { family } = prefix.address
  const free = rangeSet(rangeOf(prefix))

  return {
    prefix,
    allocate(excluded) {
      const value = lowest(free, excluded.ranges(family))
      if (value === undefined) return undefined
      free.remove(value)
      return { family, value }
    },
    take(address) {
      if (address.family !== family || !free.has(address.value)) return false
      free.remove(address.value)
      return true
    },
    release(address) {
      if (contains(prefix, address)) free.add(address.value)
    },
  }
}

/** Prefixes that nothing may be allocated from. */
export interface Exclusions {
  /** Disjoint and in order. */
  ranges(family: 4 | 6): readonly Range[]
  covers(address: Address): boolean
}

export function exclusions(prefixes: readonly Prefix[]): Exclusions {
  const merged = { 4: mergedRanges(prefixes, 4), 6: mergedRanges(prefixes, 6) }
  return {
    ranges: (family) => merged[family],
    covers: ({ family, value }) => {
      const range = merged[family][firstEndingFrom(merged[family], value)]
      return range !== undefined && range.first <= value
    },
  }
}

function lowest(set: RangeSet, excluded: readonly Range[]): bigint | undefined {
  let value = 0n
  for (;;) {
    const free = set.from(value)
    if (free === undefined) return undefined
    const candidate = free.first > value ? free.first : value
    const hit = excluded[firstEndingFrom(excluded, candidate)]
    if (hit === undefined || hit.first > candidate) return candidate
    value = hit.last + 1n
  }
}

/** Index of the first range that ends at or above `value`. */
function firstEndingFrom(ranges: readonly Range[], value: bigint): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ranges[middle]?.last ?? 0n) < value) low = middle + 1
    else high = middle
  }
  return low
}

function mergedRanges(prefixes: readonly Prefix[], family: 4 | 6): Range[] {
  const ranges = prefixes
    .filter((prefix) => prefix.address.family === family)
    .map(rangeOf)
    .sort((a, b) => (a.first < b.first ? -1 : 1))
  const merged: Range[] = []
  for (const range of ranges) {
    const before = merged.at(-1)
    if (before === undefined || range.first > before.last) merged.push(range)
    else if (range.last > before.last) merged[merged.length - 1] = { first: before.first, last: range.last }
  }
  return merged
}
