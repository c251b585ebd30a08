import { setImmediate } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { taskQueue } from '@nsm/sdk/registry/task-queue.js'
import type { Known } from './named-objects.ts'
import type { Renewals } from './renewals.ts'
import { repeat } from './repeat.ts'
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
  const { resource, known, outage, clock, log, random } = shared
  const removals = taskQueue(concurrency)
  const going = new Set<string>()
  /** Where the next look goes on: objects that cannot be removed don't keep those behind them waiting. */
  let left = known.values()
  let isClosed = false

  async function look(): Promise<void> {
    renewals.prune()
    for (let n = 1; going.size < maxRemovals || !outage.isOver; n += 1) {
      if (isClosed) return
      const { value: one, done } = left.next()
      if (done === true) {
        left = known.values()
        return
      }
      if (one.endsMs !== Infinity) {
        if (!outage.isOver) prolong(shared, one, graceMs)
        else if (isDue(shared, renewals, one)) remove(one)
      }
      if (n % batch === 0) await setImmediate()
    }
  }

  function remove({ key, object }: Known<Item>): void {
    if (going.has(key)) return
    going.add(key)
    removals.add(async () => {
      const now = known.get(key)
      const isStill = now?.object === object && outage.isOver && isOver(shared, renewals, now)
      if (isStill && (await removed(shared, renewals, now))) expired()
      going.delete(key)
    })
  }

  const end = repeat(
    clock,
    () => lookMs * (1 + random()),
    async () =>
      look().catch((err: unknown) =>
        log.error({ err: String(err) }, `${resource.kind.what}s not looked through`),
      ),
  )
  return {
    close() {
      isClosed = true
      end()
    },
  }
}

/** Of what lived when the API server was last heard of. */
function prolong<Item extends RegistryItem, Query, Response>(
  { resource, known, outage, clock }: Shared<Item, Query, Response>,
  { key, item, endsMs }: Known<Item>,
  graceMs: number,
): void {
  if (item === undefined) return
  const shownMs = Math.max(endsMs, resource.kind.expirationTime(item)?.getTime() ?? 0)
  const now = clock.now()
  if (shownMs > outage.expiryNow() && shownMs < now + graceMs)
    known.show(key, resource.expiring(item, now + 2 * graceMs))
}

function isOver<Item extends RegistryItem, Query, Response>(
  { outage }: Shared<Item, Query, Response>,
  renewals: Renewals<Item>,
  one: Known<Item>,
): boolean {
  return renewals.endOf(one).endsMs <= outage.expiryNow()
}

/** Whether this replica is to remove it now. */
function isDue<Item extends RegistryItem, Query, Response>(
  { outage, namespace, random }: Shared<Item, Query, Response>,
  renewals: Renewals<Item>,
  one: Known<Item>,
): boolean {
  if (one.object.metadata.namespace !== namespace) return false
  const { endsMs, isOwn } = renewals.endOf(one)
  const overMs = outage.expiryNow() - endsMs
  return isOwn ? overMs >= 0 : overMs >= othersMs && random() < chance
}

async function removed<Item extends RegistryItem, Query, Response>(
  { resource, known, client, log }: Shared<Item, Query, Response>,
  renewals: Renewals<Item>,
  { object }: Known<Item>,
): Promise<boolean> {
  const { namespace = '', name = '', uid = '', resourceVersion = '' } = object.metadata
  const goesOn = renewals.ending(name)
  try {
    await client.delete(objectPath(resource, { namespace, name }), { uid, resourceVersion })
    known.removed(object)
    log.info({ name }, `${resource.kind.what} was not refreshed and is removed`)
    return true
  } catch (reason) {
    const err = NsmError.from(reason)
    goesOn()
    if (err.code === 'NOT_FOUND') known.removed(object)
    // Refreshed by somebody else: the watch will tell.
    else if (err.code !== 'ABORTED')
      log.warn({ name, code: err.code, err: err.message }, `${resource.kind.what} that is over not removed`)
    return false
  }
}
