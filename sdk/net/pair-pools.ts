import { NsmError } from '../errors.ts'
import { addressPool, type AddressPool, type Exclusions } from './pool.ts'
import { contains, formatPrefix, type Address, type Prefix } from './prefix.ts'

/** The addresses of one point-to-point link. */
export interface AddressPair {
  readonly endpoint: Address
  readonly client: Address
}

/** Addresses that a client would like to have again; those that cannot be had are passed over. */
export interface Wish {
  readonly endpoints: readonly Address[]
  readonly clients: readonly Address[]
}

/** Groups of pools; a link gets one pair of addresses of each group. */
export interface PairPools {
  /**
   * One pair per group, in order: the pair held so far unless it is excluded by now, else what is wished,
   * else the two lowest free addresses, the endpoint's first. Takes nothing when it throws.
   * @throws NsmError RESOURCE_EXHAUSTED when a group has no pair left.
   */
  lease(held: readonly AddressPair[], wish: Wish, excluded: Exclusions): AddressPair[]
  release(pair: AddressPair): void
  /** Whether some pool has this address, taken or not. */
  has(address: Address): boolean
}

export function pairPools(groups: readonly (readonly Prefix[])[]): PairPools {
  const pools = groups.map((prefixes) => prefixes.map(addressPool))

  function release({ endpoint, client }: AddressPair): void {
    for (const pool of pools.flat()) {
      pool.release(endpoint)
      pool.release(client)
    }
  }

  return {
    lease(held, wish, excluded) {
      const pairs: AddressPair[] = []
      const taken: AddressPair[] = []
      for (const [at, group] of pools.entries()) {
        const before = held[at]
        const usable =
          before !== undefined && !excluded.covers(before.endpoint) && !excluded.covers(before.client)
        const pair = usable ? before : (wished(group, wish, excluded) ?? lowest(group, excluded))
        if (pair === undefined) {
          for (const mistaken of taken) release(mistaken)
          throw new NsmError('RESOURCE_EXHAUSTED', `no free address pair in ${shown(group)}`)
        }
        if (!usable) taken.push(pair)
        pairs.push(pair)
      }
      return pairs
    },
    release,
    has: (address) => groups.flat().some((prefix) => contains(prefix, address)),
  }
}

/** A pair with at least one wished address; the other comes from the same pool. */
function wished(group: readonly AddressPool[], wish: Wish, excluded: Exclusions): AddressPair | undefined {
  for (const pool of group) {
    const endpoint = takeFirst(pool, wish.endpoints, excluded)
    const client = takeFirst(pool, wish.clients, excluded)
    if (endpoint === undefined && client === undefined) continue
    const pair = completed(pool, { endpoint, client }, excluded)
    if (pair !== undefined) return pair
  }
  return undefined
}

function lowest(group: readonly AddressPool[], excluded: Exclusions): AddressPair | undefined {
  for (const pool of group) {
    const pair = completed(pool, { endpoint: undefined, client: undefined }, excluded)
    if (pair !== undefined) return pair
  }
  return undefined
}

interface HalfPair {
  readonly endpoint: Address | undefined
  readonly client: Address | undefined
}

/** Allocates what is missing; gives everything back when that cannot be. */
function completed(pool: AddressPool, half: HalfPair, excluded: Exclusions): AddressPair | undefined {
  const endpoint = half.endpoint ?? pool.allocate(excluded)
  const client = half.client ?? pool.allocate(excluded)
  if (endpoint !== undefined && client !== undefined) return { endpoint, client }
  if (endpoint !== undefined) pool.release(endpoint)
  if (client !== undefined) pool.release(client)
  return undefined
}

function takeFirst(pool: AddressPool, wanted: readonly Address[], excluded: Exclusions): Address | undefined {
  return wanted.find((address) => !excluded.covers(address) && pool.take(address))
}

function shown(group: readonly AddressPool[]): string {
  return group.map((pool) => formatPrefix(pool.prefix)).join(', ')
}
