/** Pauses between restarts of something that keeps ending. */
export interface BackOff {
  /** Pause before the next start, after a run of `ranMs`: doubles each time, starts anew after a long run. */
  next(ranMs: number): number
}

export interface BackOffOptions {
  readonly firstMs: number
  readonly maxMs: number
  /** A run of this length counts as a success. */
  readonly resetMs: number
}

export function backOff({ firstMs, maxMs, resetMs }: BackOffOptions): BackOff {
  let pauseMs = firstMs
  return {
    next(ranMs) {
      if (ranMs >= resetMs) pauseMs = firstMs
      const now = pauseMs
      pauseMs = Math.min(pauseMs * 2, maxMs)
      return now
    },
  }
}
