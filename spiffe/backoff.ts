export interface BackoffOptions {
  readonly minMs: number
  readonly maxMs: number
  /** In [0, 1). */
  readonly random: () => number
}

/** Waits between attempts: each doubles the one before, and all are cut short at random by up to a half. */
export interface Backoff {
  next(): number
  reset(): void
}

export function backoff({ minMs, maxMs, random }: BackoffOptions): Backoff {
  let fullMs = minMs
  return {
    next() {
      const delayMs = fullMs * (1 - random() / 2)
      fullMs = Math.min(maxMs, fullMs * 2)
      return delayMs
    },
    reset() {
      fullMs = minMs
    },
  }
}
