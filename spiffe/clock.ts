/** Time as this package sees it: a parameter, so that tests move it by hand. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number
  /** Calls once after `ms`; the answer cancels it. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void
}

/** Longest delay that a Node timer takes. */
const maxTimerMs = 2_147_483_647

/** The machine's clock. A wait of more than 24 days ends early: who waits looks again. */
export const machineClock: Clock = {
  now: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(Math.max(0, ms), maxTimerMs)).unref()
    return () => clearTimeout(timer)
  },
}

/** Waits; ends early, without an error, when the signal aborts. */
export async function sleep(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    const done = (): void => {
      disarm()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const disarm = clock.after(ms, done)
    signal.addEventListener('abort', done, { once: true })
  })
}
