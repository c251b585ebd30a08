import { setImmediate } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { taskQueue } from '@nsm/sdk/registry/task-queue.js'
import type { Known } from './known-objects.ts'
import type { Renewals } from './renewals.ts'
import { objectPath } from './resource.ts'
import type { Shared } from './shared.ts'

export interface ExpiryOptions {
  /** How much longer a registration is shown while the API server is away. */
  readonly graceMs: number
  readonly expired: () => void
}

/** Between two looks; up to twice as long. */
const lookMs = 1000
/** Objects looked at between two turns of the event loop. */
const batch = 512
/** Removed at one time, and in one look. */
const concurrency = 8
const maxRemovals = 256
/** An object that another replica wrote is that one's to remove for so long, then anybody's, by lot. */
const othersMs = 10_000
const chance = 0.2

/**
 * Takes away objects whose registration is over, by one timer. Each is removed in exactly the version that was looked at, so that one that is
 * refreshed at the same time stays. While the API server is away nothing ends, and what would is shown as living on.
 */
export function expiry<Item extends RegistryItem, Query, Response>(
  shared: Shared<Item, Query, Response>,
  renewals: Renewals<Item>,
  { graceMs, expired }: ExpiryOptions,
): { close(): void } {
  const { resource, known, client, contact, namespace, clock, log, random } = shared
  const removals = taskQueue(concurrency)
  const going = new Set<string>()
  let isClosed = false
  let disarm = clock.after(lookMs, look)

  function look(): void {
    void sweep()
      .catch((err: unknown) => log.error({ err: String(err) }, 'registrations not looked through'))
      .then(() => {
        if (!isClosed) disarm = clock.after(lookMs * (1 + random()), look)
      })
  }

  async function sweep(): Promise<void> {
    renewals.prune()
    let n = 0
    for (const one of known.values()) {
      if (isClosed || going.size >= maxRemovals) return
      if (one.endsMs !== Infinity) {
        if (!contact.isSettled) prolong(one)
        else if (isDue(one)) remove(one)
      }
      n += 1
      if (n % batch === 0) await setImmediate()
    }
  }

  /** Of what lived when the API server was last heard of. */
  function prolong({ key, item, endsMs }: Known<Item>): void {
    if (item === undefined) return
    const shownMs = Math.max(endsMs, resource.kind.expirationTime(item)?.getTime() ?? 0)
    const now = clock.now()
    if (shownMs > contact.expiryNow() && shownMs < now + graceMs)
      known.override(key, resource.expiring(item, now + 2 * graceMs))
  }

  function isDue(one: Known<Item>): boolean {
    if (one.object.metadata.namespace !== namespace) return false
    const { endsMs, isOwn } = renewals.endOf(one)
    const overMs = contact.expiryNow() - endsMs
    return isOwn ? overMs >= 0 : overMs >= othersMs && random() < chance
  }

  function remove({ key, object }: Known<Item>): void {
    if (going.has(key)) return
    going.add(key)
    removals.add(async () => {
      const { name = '', uid = '', resourceVersion = '' } = object.metadata
      try {
        const now = known.get(key)
        if (now === undefined || now.object !== object || renewals.endOf(now).endsMs > contact.expiryNow())
          return
        await client.delete(objectPath(resource, { namespace, name }), { uid, resourceVersion })
        known.removed(object)
        expired()
        log.info({ name }, `${resource.kind.what} was not refreshed and is removed`)
      } catch (reason) {
        const err = NsmError.from(reason)
        // Refreshed or removed by somebody else: the watch will tell.
        if (err.code !== 'ABORTED' && err.code !== 'NOT_FOUND')
          log.warn(
            { name, code: err.code, err: err.message },
            `${resource.kind.what} that is over not removed`,
          )
      } finally {
        going.delete(key)
      }
    })
  }

  return {
    close() {
      isClosed = true
      disarm()
    },
  }
}
