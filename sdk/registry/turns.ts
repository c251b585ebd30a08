import { NsmError } from '../errors.ts'

/** Lets one at a time work on a name; the others wait in order. */
export interface Turns {
  /** Runs `body` in its turn. Rejects when the signal aborts before that, or with RESOURCE_EXHAUSTED when too many wait. */
  run<T>(name: string, signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T>
}

/** @param maxWaiting how many may wait for one name */
export function turns(maxWaiting: number): Turns {
  const queues = new Map<string, (() => void)[]>()

  async function enter(name: string, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) throw NsmError.from(signal.reason)
    const queue = queues.get(name)
    if (queue === undefined) {
      queues.set(name, [])
      return
    }
    if (queue.length >= maxWaiting)
      throw new NsmError('RESOURCE_EXHAUSTED', `${queue.length} calls already wait for ${name}`)
    await new Promise<void>((resolve, reject) => {
      const admitted = (): void => {
        signal?.removeEventListener('abort', gaveUp)
        resolve()
      }
      const gaveUp = (): void => {
        queue.splice(queue.indexOf(admitted), 1)
        reject(NsmError.from(signal?.reason))
      }
      signal?.addEventListener('abort', gaveUp, { once: true })
      queue.push(admitted)
    })
  }

  function leave(name: string): void {
    const next = queues.get(name)?.shift()
    if (next === undefined) queues.delete(name)
    else next()
  }

  return {
    async run(name, signal, body) {
      await enter(name, signal)
      try {
        return await body()
      } finally {
        leave(name)
      }
    },
  }
}
