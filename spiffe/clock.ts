/** Time as this package sees it: a parameter, so that tests move it by hand. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number
  /** Calls once after `ms`; the answer cancels it. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void
}

/** Longest delay that a Node timer takes; a longer wait is made of several. */
const maxTimerMs = 2_147_483_647

/** The machine's clock. */
export const machineClock: Clock = {
  now: () => Date.now(),
  after(ms, run) {
    let leftMs = Math.max(0, ms)
    let timer: NodeJS.Timeout
    const arm = (): void => {
      const stepMs = Math.min(leftMs, maxTimerMs)
      leftMs -= stepMs
      timer = setTimeout(leftMs > 0 ? arm : run, stepMs).unref()
    }
    arm()
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
