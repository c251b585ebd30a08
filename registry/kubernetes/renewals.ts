import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { lives, type Life } from './lives.ts'
import type { Known } from './named-objects.ts'
import type { Shared } from './shared.ts'
import { writeQueue } from './write-queue.ts'
import type { Writes } from './writes.ts'

/**
 * Refreshes that change nothing but the end of a registration. Such a refresh is answered at once; it is written, some time later, when what
 * is written would end too early, and then ahead by `aheadMs`, so that the next ones need no writing. The replica that wrote
 * last knows the true end and removes the object by that; it is known by the very time that it wrote.
 */
export interface Renewals<Item> {
  /** The owner wants it until the item's end. `known` is the newest version. */
  renew(known: Known<Item>, item: Item): void
  /** What has just been written, by its owner's call. */
  wrote(item: Item): void
  /** Its owner is done with it, but it could not be removed. */
  end(name: string): void
  /** It is being removed because it is over; an owner who refreshes it at this moment has it made again. The answer takes that back. */
  ending(name: string): () => void
  /** When the registration of an object ends, ms since the epoch. `isOwn` = this replica decides. */
  endOf(known: Known<Item>): { readonly endsMs: number; readonly isOwn: boolean }
  /** Forgets objects that are gone. */
  prune(): void
  /** Objects that wait to be written. */
  readonly waiting: number
  close(): void
}

export interface RenewalOptions {
  readonly aheadMs: number
  /** Calls at one time. */
  readonly concurrency: number
}

/** Between tries; up to twice as long. */
const pauseMs = 1000

export function renewals<Item extends RegistryItem, Query, Response>(
  { resource, known: objects, outage, clock, log, random, namespace }: Shared<Item, Query, Response>,
  writes: Writes<Item>,
  { aheadMs, concurrency }: RenewalOptions,
): Renewals<Item> {
  const known = lives(clock)
  const queue = writeQueue(write, { clock, outage, concurrency, pauseMs, restMs: pauseMs, random })
  const end = (item: Item): number => resource.kind.expirationTime(item)?.getTime() ?? Infinity
  const ahead = (untilMs: number): number => Math.max(untilMs, clock.now() + aheadMs)

  async function write(name: string, item: Item): Promise<boolean> {
    try {
      await writes.put(name, (now) => {
        const life = known.get(name)
        if (life === undefined || !isStillWanted(now, item, life)) return undefined
        const writtenMs = ahead(life.untilMs)
        known.wrote(name, writtenMs)
        return resource.expiring({ ...(now?.item ?? item), pathIds: item.pathIds }, writtenMs)
      })
      known.goesOn(name)
      return true
    } catch (reason) {
      const err = NsmError.from(reason)
      log.warn({ name, code: err.code, err: err.message }, `refresh of ${resource.kind.what} not written yet`)
      return false
    }
  }

  return {
    renew({ key, object, endsMs }, item) {
      if (endsMs === Infinity) return
      const name = object.metadata.name ?? ''
      const untilMs = end(item)
      const before = known.told(name, untilMs)
      // What ends later than it would if it were written now is by the time that this machine had before that was set back.
      if (before?.writtenMs === endsMs && endsMs >= untilMs && endsMs <= ahead(untilMs)) return
      objects.show(key, resource.expiring(item, ahead(untilMs)))
      queue.add(name, item)
    },

    wrote(item) {
      queue.delete(item.name)
      known.delete(item.name)
      if (end(item) !== Infinity) known.wrote(item.name, end(item))
    },

    end(name) {
      queue.delete(name)
      known.end(name)
    },

    ending: (name) => known.ending(name),

    endOf({ object: { metadata }, endsMs }) {
      if (metadata.namespace !== namespace) return { endsMs, isOwn: false }
      return known.endOf(metadata.name ?? '', endsMs)
    },

    prune() {
      for (const name of known.names())
        if (objects.at(namespace, name) === undefined && !queue.has(name)) known.delete(name)
    },

    get waiting() {
      return queue.size
    },

    close: () => queue.close(),
  }
}

/** What somebody else removed or took over is not made again: its owner hears of that and registers anew. */
function isStillWanted<Item extends RegistryItem>(
  now: Known<Item> | undefined,
  item: Item,
  life: Life,
): boolean {
  if (now === undefined) return life.isEnding
  return now.item !== undefined && now.item.pathIds[0] === item.pathIds[0]
}
