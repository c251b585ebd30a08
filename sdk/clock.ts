/** Time as elements see it: a parameter, so that tests move it by hand. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number
  /** Calls once after `ms` (fractions allowed, 0 = as soon as possible); the answer cancels it. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void
}

/** Longest delay that a Node timer takes; a longer wait is made of several. */
const maxTimerMs = 2_147_483_647

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, run) {
    const due = Date.now() + ms
    let timer: NodeJS.Timeout
    const arm = (): void => {
      const left = due - Date.now()
      timer = left > maxTimerMs ? setTimeout(arm, maxTimerMs) : setTimeout(run, Math.max(0, left))
      timer.unref()
    }
    arm()
    return () => clearTimeout(timer)
  },
}
