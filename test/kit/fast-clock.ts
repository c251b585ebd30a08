import { systemClock, type Clock } from '@nsm/sdk/clock.js'

/** A clock that runs `times` as fast as the machine's: for waits that a server of a test takes part in. */
export function fastClock(times: number): Clock {
  const start = systemClock.now()
  return {
    now: () => start + (systemClock.now() - start) * times,
    monotonic: () => systemClock.monotonic() * times,
    after: (ms, run) => systemClock.after(ms / times, run),
  }
}
