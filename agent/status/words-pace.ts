import { backoff, type Backoff } from '@nsm/spiffe/backoff.js'

const firstPauseMs = 30_000
const longestPauseMs = 600_000

/** Pauses before the new words of a failure that is told already: each failed request may have words of its own, and goes on for days. */
export function wordsPace(): Backoff {
  return backoff({ minMs: firstPauseMs, maxMs: longestPauseMs, random: () => 0 })
}
