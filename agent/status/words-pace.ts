import { backoff } from '@nsm/spiffe/backoff.js'
import type { Clock } from '@nsm/sdk/clock.js'

const firstPauseMs = 30_000
const longestPauseMs = 600_000

/** Keeps apart the telling of words that change: each failed request may have its own, and goes on for days. */
export interface WordsPace {
  /** New words were told about this. */
  told(about: string): void
  /** How long other words about the same are to wait; 0 or less = not at all. */
  waitMs(about: string): number
}

/** Each pause is twice as long as the one before, up to ten minutes, until something else is told. */
export function wordsPace(clock: Clock): WordsPace {
  const pause = backoff({ minMs: firstPauseMs, maxMs: longestPauseMs, random: () => 0 })
  let last: { readonly about: string; readonly untilMs: number } | undefined

  return {
    told(about) {
      if (last?.about !== about) pause.reset()
      last = { about, untilMs: clock.now() + pause.next() }
    },
    waitMs: (about) => (last?.about === about ? last.untilMs - clock.now() : 0),
  }
}
