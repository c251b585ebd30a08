import type { Clock } from '@nsm/sdk/clock.js'

/** Runs `body` again and again, `pauseMs()` after its end each time. It must not reject. The answer ends that. */
export function repeat(clock: Clock, pauseMs: () => number, body: () => Promise<void>): () => void {
  let isEnded = false
  let disarm = clock.after(pauseMs(), run)

  function run(): void {
    void body().then(() => {
      if (!isEnded) disarm = clock.after(pauseMs(), run)
    })
  }

  return () => {
    isEnded = true
    disarm()
  }
}
