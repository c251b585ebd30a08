/** Time as elements see it: a parameter, so that tests move it by hand. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number
  /** Milliseconds since some moment. Nobody sets it: what tells how long something took, or has to wait, goes by this. */
  monotonic(): number
  /** Calls once after `ms` (fractions allowed, 0 = as soon as possible); the answer cancels it. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void
}

/** Up to here a timer has exactly its delay. */
const exactMs = 1_024
/** Binary logarithm of the longest delay that a Node timer takes. */
const longestLog = 30

/**
 * The machine's clock. Node keeps a list for each delay that was ever asked for, until that delay has passed: so that a million different ones
 * don't stay in memory after their timers are gone, a long wait is made of some whose delays are powers of two.
 */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run) {
    const due = performance.now() + ms
    let timer: NodeJS.Timeout
    const arm = (): void => {
      const left = due - performance.now()
      timer =
        left > exactMs
          ? setTimeout(arm, 2 ** Math.min(longestLog, Math.floor(Math.log2(left))))
          : setTimeout(run, Math.max(0, Math.ceil(left)))
      timer.unref()
    }
    arm()
    return () => clearTimeout(timer)
  },
}
