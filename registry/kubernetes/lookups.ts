import { NsmError } from '@nsm/sdk/errors.js'
import type { Registry, RegistryItem } from '@nsm/sdk/registry-chain.js'
import { finder } from '@nsm/sdk/registry/find.js'
import type { Watchers } from '@nsm/sdk/registry/watchers.js'
import type { Known } from './named-objects.ts'
import type { Shared } from './shared.ts'

/** What is registered and not over, from memory. */
export interface Lookups<Item, Query, Response> extends Pick<Registry<Item, Query, Response>, 'find'> {
  isLiving(known: Known<Item>): boolean
  /** What is registered under a name and not over. */
  living(name: string): Item | undefined
  /** Whose a name is: an identity, or the object that somebody wrote by hand. Undefined = free. */
  ownerOf(name: string): string | undefined
  /** @throws NsmError PERMISSION_DENIED unless the item's owner may change the object */
  checkOwner(known: Known<Item>, item: Item): void
}

export function lookups<Item extends RegistryItem, Query, Response>(
  { resource: { kind }, known, outage, namespace }: Shared<Item, Query, Response>,
  watches: Watchers<Item, Response>,
): Lookups<Item, Query, Response> {
  function isLiving({ item }: Known<Item>): boolean {
    return item !== undefined && (kind.expirationTime(item)?.getTime() ?? Infinity) > outage.expiryNow()
  }

  function living(name: string): Item | undefined {
    const one = known.named(name)
    return one !== undefined && isLiving(one) ? one.item : undefined
  }

  function owner(one: Known<Item>): string | undefined {
    if (one.fault !== undefined) return `the object ${one.key}, which cannot be read: ${one.fault}`
    return isLiving(one)
      ? (one.item?.pathIds[0] ?? `the object ${one.key}, which was not registered`)
      : undefined
  }

  return {
    isLiving,
    living,

    ownerOf(name) {
      const one = known.named(name) ?? known.at(namespace, name)
      return one === undefined ? undefined : owner(one)
    },

    checkOwner(one, { name, pathIds }) {
      const now = owner(one)
      if (now === undefined || pathIds[0] === undefined || now === pathIds[0]) return
      throw new NsmError('PERMISSION_DENIED', `${kind.what} ${name}: the name belongs to ${now}`)
    },

    find: finder(kind, { candidates: (pattern) => known.candidates(pattern), get: living }, watches),
  }
}
