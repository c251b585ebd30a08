import type { Clock } from '@nsm/sdk/clock.js'

/** A clock that stands still until it is moved. */
export interface HandClock extends Clock {
  /** Moves on by `ms`, running what falls due on the way, in order, each at its own time. */
  advance(ms: number): void
  /** Is set forward by `ms`, or back: no time passes. */
  set(ms: number): void
  /** Timers that wait. */
  readonly pending: number
}

/** @param start ms since the epoch */
export function handClock(start = 1_800_000_000_000): HandClock {
  let passed = 0
  let startedAt = start
  const timers = new Set<{ readonly due: number; readonly run: () => void }>()
  return {
    now: () => startedAt + passed,
    monotonic: () => passed,
    after(ms, run) {
      const timer = { due: passed + Math.max(0, ms), run }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      const end = passed + ms
      for (;;) {
        const [next] = [...timers].filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)
        if (next === undefined) break
        timers.delete(next)
        passed = Math.max(passed, next.due)
        next.run()
      }
      passed = end
    },
    set(ms) {
      startedAt += ms
    },
    get pending() {
      return timers.size
    },
  }
}
