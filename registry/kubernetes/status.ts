import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { changedStatus } from './condition.ts'
import type { Known } from './named-objects.ts'
import { objectPath } from './resource.ts'
import type { Shared } from './shared.ts'
import { writeQueue } from './write-queue.ts'

/** Tells in the objects' status what the registry makes of them. */
export interface StatusWriter<Item> {
  /** Something about the object has changed. */
  touch(known: Pick<Known<Item>, 'key'>): void
  /** Likewise for what is served under a name. */
  touchName(name: string): void
  close(): void
}

export interface StatusOptions<Item> {
  /** What else a status tells. */
  readonly more: (item: Item) => Readonly<Record<string, unknown>>
  /** Everything that it depends on has been loaded. */
  readonly isLoaded: () => boolean
}

/** Changes that come together are written once; of replicas that see the same at different times the later ones find it written. */
const delayMs = 500
/** At one time: whoever registers goes before. */
const concurrency = 2
/** Between tries while the API server is away; up to twice as long. */
const pauseMs = 5000
/** Until one that failed is tried again; up to twice as long. */
const restMs = 30_000
/** Failures that pass by themselves. Others stay until the object is another. */
const passing: ReadonlySet<Code> = new Set([
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
])

export function statusWriter<Item extends RegistryItem, Query, Response>(
  { resource, known, client, outage, clock, log, random }: Shared<Item, Query, Response>,
  { more, isLoaded }: StatusOptions<Item>,
): StatusWriter<Item> {
  const touched = new Set<string>()
  const queue = writeQueue(write, { clock, outage, concurrency, pauseMs, restMs, random })
  let disarm: (() => void) | undefined

  function later(): void {
    disarm = clock.after(delayMs * (1 + 2 * random()), () => {
      if (!isLoaded()) {
        later()
        return
      }
      disarm = undefined
      const keys = [...touched]
      touched.clear()
      for (const key of keys) if (statusOf(key) !== undefined) queue.add(key, undefined)
    })
  }

  function statusOf(key: string): object | undefined {
    const one = known.get(key)
    if (one === undefined) return undefined
    const { item } = one
    const winner = item === undefined ? undefined : known.named(item.name)
    return changedStatus(one, { winner, more: item === undefined ? {} : more(item), nowMs: clock.now() })
  }

  async function write(key: string): Promise<boolean> {
    const one = known.get(key)
    const status = statusOf(key)
    if (one === undefined || status === undefined) return true
    const { namespace = '', name = '', uid } = one.object.metadata
    if (one.fault !== undefined)
      log.warn({ namespace, name, fault: one.fault }, `${resource.kind.what} is skipped`)
    try {
      const path = `${objectPath(resource, { namespace, name })}/status`
      known.written(await client.patch(path, { metadata: { uid }, status }, 'merge'))
      return true
    } catch (reason) {
      const err = NsmError.from(reason)
      log.debug({ namespace, name, code: err.code, err: err.message }, 'status not written')
      return !passing.has(err.code)
    }
  }

  function touch({ key }: Pick<Known<Item>, 'key'>): void {
    touched.add(key)
    if (disarm === undefined) later()
  }

  return {
    touch,
    touchName(name) {
      const one = known.named(name)
      if (one !== undefined) touch(one)
    },
    close() {
      disarm?.()
      queue.close()
    },
  }
}
