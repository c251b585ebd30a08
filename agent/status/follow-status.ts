import { backoff } from '@nsm/spiffe/backoff.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { reminderMs } from './failure-events.ts'
import { readEvents, type StatusAddress } from './read-events.ts'
import { newsIn, type StatusNews } from './sidecar-status.ts'

export interface StatusFollower {
  /** What the sidecar says: everything at first, then what changes. */
  readonly news: (news: StatusNews) => void
  /** Called when the sidecar has not been reached for a minute, with why, and each half hour after that; and with undefined when it is reached again. */
  readonly reach: (problem: string | undefined) => void
}

const firstRetryMs = 500
const longestRetryMs = 30_000
const patienceMs = 60_000

/** Follows the status of one sidecar until the answer is called: a stream that ends is opened again, later each time while that fails. */
export function followStatus(address: StatusAddress, follower: StatusFollower, clock: Clock): () => void {
  const end = new AbortController()
  const retry = backoff({ minMs: firstRetryMs, maxMs: longestRetryMs, random: Math.random })
  let lostAt = clock.now()
  let toldAt: number | undefined

  const opened = (): void => {
    retry.reset()
    if (toldAt !== undefined) follower.reach(undefined)
    toldAt = undefined
  }
  const failed = (problem: string): void => {
    const now = clock.now()
    if (now < (toldAt === undefined ? lostAt + patienceMs : toldAt + reminderMs)) return
    toldAt = now
    follower.reach(problem)
  }
  const event = (name: string, data: string): void => follower.news(newsIn(name, data))
  const run = async (): Promise<void> => {
    while (!end.signal.aborted) {
      let isOpen = false
      const listener = { event, opened: () => ((isOpen = true), opened()) }
      const problem = await readEvents(address, listener, end.signal).then(
        () => 'the sidecar ended the stream',
        (reason: unknown) => NsmError.from(reason).message,
      )
      if (end.signal.aborted) return
      if (isOpen) lostAt = clock.now()
      failed(problem)
      await sleep({ clock, signal: end.signal }, retry.next()).catch(() => undefined)
    }
  }
  void run()
  return () => end.abort(new NsmError('CANCELLED', 'the pod is gone'))
}
