import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { backoff } from '@nsm/spiffe/backoff.js'

export interface PersistentOptions {
  /** What is tried, for the log. */
  readonly what: string
  readonly log: Logger
  readonly signal: AbortSignal
  readonly clock?: Clock
}

/** Tries until it works, later each time; rejects only with the signal's reason. */
export async function persistent<T>(run: () => Promise<T>, options: PersistentOptions): Promise<T> {
  const { what, log, signal, clock = systemClock } = options
  const retry = backoff({ minMs: 500, maxMs: 15_000, random: Math.random })
  for (;;) {
    if (signal.aborted) throw NsmError.from(signal.reason)
    try {
      return await run()
    } catch (err) {
      const ms = retry.next()
      log.warn({ err: String(err), retry_ms: Math.round(ms) }, `${what} not to be had`)
      await sleep({ clock, signal }, ms)
    }
  }
}
