import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import type { Known } from './known-objects.ts'
import type { Shared } from './shared.ts'
import type { Writes } from './writes.ts'

/**
 * Refreshes that change nothing but the end of a registration. Such a refresh is answered at once; it is written, some time later, when what is
 * written would end too early, and then ahead by `aheadMs`, so that the next ones need no writing. The replica that wrote last knows
 * the true end and removes the object by that; it is known by the very time that it wrote.
 */
export interface Renewals<Item> {
  /** The owner wants it until `untilMs`. `known` is the newest version. */
  renew(known: Known<Item>, item: Item): void
  /** What has just been written, by its owner's call. */
  wrote(item: Item): void
  /** Its owner is done with it, but it could not be removed. */
  end(name: string): void
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

interface Life {
  /** What the owner was told last. */
  readonly untilMs: number
  /** What this replica wrote last; undefined = nothing. */
  readonly writtenMs: number | undefined
}

/** Between tries while the API server is away; up to twice as long. */
const pauseMs = 1000

export function renewals<Item extends RegistryItem, Query, Response>(
  { resource, known, clock, log, random, namespace }: Shared<Item, Query, Response>,
  put: Writes<Item>['put'],
  { aheadMs, concurrency }: RenewalOptions,
): Renewals<Item> {
  const lives = new Map<string, Life>()
  const waiting = new Map<string, Item>()
  const running = new Set<string>()
  let resume: (() => void) | undefined
  let isClosed = false

  const ends = (item: Item): number => resource.kind.expirationTime(item)?.getTime() ?? Infinity
  const ahead = (untilMs: number): number => Math.max(untilMs, clock.now() + aheadMs)

  function work(): void {
    for (const [name, item] of waiting) {
      if (isClosed || resume !== undefined || running.size >= concurrency) return
      if (running.has(name)) continue
      waiting.delete(name)
      running.add(name)
      void write(name, item).finally(() => {
        running.delete(name)
        work()
      })
    }
  }

  async function write(name: string, item: Item): Promise<void> {
    let writtenMs: number | undefined
    try {
      await put(name, (now) => {
        const life = lives.get(name)
        // Removed or taken over meanwhile: its owner hears of that and registers again.
        if (life === undefined || now?.item === undefined || now.item.pathIds[0] !== item.pathIds[0])
          return undefined
        writtenMs = ahead(life.untilMs)
        return resource.expiring({ ...now.item, pathIds: item.pathIds }, writtenMs)
      })
      const life = lives.get(name)
      if (life !== undefined && writtenMs !== undefined) lives.set(name, { ...life, writtenMs })
    } catch (reason) {
      const err = NsmError.from(reason)
      log.warn({ name, code: err.code, err: err.message }, `refresh of ${resource.kind.what} not written yet`)
      if (!waiting.has(name)) waiting.set(name, item)
      pause()
    }
  }

  function pause(): void {
    if (isClosed) return
    resume ??= clock.after(pauseMs * (1 + random()), () => {
      resume = undefined
      work()
    })
  }

  return {
    renew({ key, object, endsMs }, item) {
      const name = object.metadata.name ?? ''
      const untilMs = ends(item)
      const writtenMs = lives.get(name)?.writtenMs
      lives.set(name, { untilMs, writtenMs })
      if (endsMs === Infinity || (writtenMs === endsMs && endsMs >= untilMs)) return
      known.override(key, resource.expiring(item, ahead(untilMs)))
      waiting.set(name, item)
      work()
    },

    wrote(item) {
      const untilMs = ends(item)
      waiting.delete(item.name)
      if (untilMs !== Infinity) lives.set(item.name, { untilMs, writtenMs: untilMs })
    },

    end(name) {
      const life = lives.get(name)
      waiting.delete(name)
      if (life !== undefined) lives.set(name, { ...life, untilMs: clock.now() })
    },

    endOf({ object, endsMs }) {
      const life = object.metadata.namespace === namespace ? lives.get(object.metadata.name ?? '') : undefined
      if (life === undefined) return { endsMs, isOwn: false }
      // Who wrote something else since then has heard of a refresh that this replica has not.
      const isOwn = life.writtenMs === endsMs
      return { endsMs: isOwn ? life.untilMs : Math.max(life.untilMs, endsMs), isOwn }
    },

    prune() {
      for (const name of lives.keys()) if (known.at(namespace, name) === undefined) lives.delete(name)
    },

    get waiting() {
      return waiting.size + running.size
    },

    close() {
      isClosed = true
      resume?.()
    },
  }
}
