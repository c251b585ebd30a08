import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'

/** Undoes one thing; gives up when the signal aborts. */
export type Step = (signal: AbortSignal) => Promise<void> | void

/** What has been started, to be stopped in reverse order. */
export interface Teardown {
  add(step: Step): void
  /** Runs every step once; one that fails is logged and hinders no other. */
  run(signal: AbortSignal): Promise<void>
}

export function teardown(log: Logger): Teardown {
  const steps: Step[] = []
  return {
    add: (step) => void steps.push(step),
    async run(signal) {
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
        try {
          await step(signal)
        } catch (err) {
          log.warn({ err: NsmError.from(err).message }, 'not everything was undone')
        }
      }
    },
  }
}
