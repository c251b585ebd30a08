/** How long to wait before trying again. */
export interface Backoff {
  /** Milliseconds: random, and twice as long each time up to the longest. */
  next(): number
  /** What was tried has worked. */
  reset(): void
}

/** Waits from half of `firstMs` up; `random` answers numbers from 0 to 1. */
export function backoff(firstMs: number, longestMs: number, random: () => number = Math.random): Backoff {
  let failures = 0
  return {
    next() {
      const most = Math.min(longestMs, firstMs * 2 ** failures)
      if (most < longestMs) failures += 1
      return most * (0.5 + random() / 2)
    },
    reset() {
      failures = 0
    },
  }
}
