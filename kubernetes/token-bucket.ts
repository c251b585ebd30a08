import { NsmError } from '@nsm/sdk/errors.js'
import type { Clock } from '@nsm/sdk/clock.js'

/** At most so many at once, and so many a second in the long run. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

export interface TokenBucket {
  /** Takes one now, if there is one. */
  tryTake(): boolean
  /**
   * Waits for its turn, in the order of calls. Rejects with the signal's reason when that aborts first, and with
   * RESOURCE_EXHAUSTED when too many wait already.
   */
  take(signal: AbortSignal): Promise<void>
}

/** A full bucket. @param maxWaiting how many may wait for their turn; for one user, who takes one after another, there is no need */
export function tokenBucket(
  { perSecond, burst }: Rate,
  clock: Clock,
  maxWaiting: number = Number.POSITIVE_INFINITY,
): TokenBucket {
  let tokens = burst
  let filledAt = clock.monotonic()
  let disarm: (() => void) | undefined
  const waiting = new Set<() => void>()

  function fill(): void {
    const now = clock.monotonic()
    tokens = Math.min(burst, tokens + ((now - filledAt) * perSecond) / 1000)
    filledAt = now
  }

  function serve(): void {
    disarm = undefined
    fill()
    for (const go of waiting) {
      if (tokens < 1) break
      tokens -= 1
      waiting.delete(go)
      go()
    }
    arm()
  }

  function arm(): void {
    if (disarm !== undefined || waiting.size === 0) return
    disarm = clock.after(Math.max(1, ((1 - tokens) * 1000) / perSecond), serve)
  }

  function tryTake(): boolean {
    fill()
    if (waiting.size > 0 || tokens < 1) return false
    tokens -= 1
    return true
  }

  return {
    tryTake,
    async take(signal) {
      if (signal.aborted) throw NsmError.from(signal.reason)
      if (tryTake()) return
      if (waiting.size >= maxWaiting)
        throw new NsmError('RESOURCE_EXHAUSTED', `${waiting.size} calls wait for their turn already`)
      await new Promise<void>((resolve, reject) => {
        const go = (): void => {
          signal.removeEventListener('abort', leave)
          resolve()
        }
        const leave = (): void => {
          waiting.delete(go)
          reject(NsmError.from(signal.reason))
        }
        waiting.add(go)
        signal.addEventListener('abort', leave, { once: true })
        arm()
      })
    },
  }
}
