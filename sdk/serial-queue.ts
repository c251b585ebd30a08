import { NsmError } from './errors.ts'

/** Lets one body run at a time, in the order of arrival. */
export interface SerialQueue {
  /**
   * Runs `body` when all earlier ones have ended.
   * Rejects with RESOURCE_EXHAUSTED when too many wait, and with the signal's reason when it aborts before the turn came.
   */
  run<T>(signal: AbortSignal, body: () => Promise<T>): Promise<T>
  /** Nothing runs and nothing waits. */
  readonly idle: boolean
}

/** A queue in which at most `maxWaiting` bodies wait behind the one that runs. */
export function serialQueue(maxWaiting: number): SerialQueue {
  const waiting = new Set<() => void>()
  let busy = false

  async function turn(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw NsmError.from(signal.reason)
    if (!busy) {
      busy = true
      return
    }
    if (waiting.size >= maxWaiting) {
      throw new NsmError('RESOURCE_EXHAUSTED', `${maxWaiting} calls wait for their turn already`)
    }
    await new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        waiting.delete(enter)
        reject(NsmError.from(signal.reason))
      }
      waiting.add(enter)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  function pass(): void {
    const [next] = waiting
    if (next === undefined) {
      busy = false
      return
    }
    waiting.delete(next)
    next()
  }

  return {
    async run(signal, body) {
      await turn(signal)
      try {
        return await body()
      } finally {
        pass()
      }
    },
    get idle() {
      return !busy
    },
  }
}
