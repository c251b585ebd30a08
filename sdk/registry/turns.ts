import { NsmError } from '../errors.ts'

/** Lets one at a time, or a few, work on a name; the others wait in order. */
export interface Turns {
  /** Runs `body` in its turn. Rejects when the signal aborts before that, or with RESOURCE_EXHAUSTED when too many wait. */
  run<T>(name: string, signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T>
}

interface Queue {
  running: number
  readonly waiting: (() => void)[]
}

/** @param maxWaiting how many may wait for one name @param atOnce how many work on it */
export function turns(maxWaiting: number, atOnce = 1): Turns {
  const queues = new Map<string, Queue>()

  async function enter(name: string, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) throw NsmError.from(signal.reason)
    const queue = queues.get(name) ?? { running: 0, waiting: [] }
    queues.set(name, queue)
    const { waiting } = queue
    if (queue.running < atOnce) {
      queue.running += 1
      return
    }
    if (waiting.length >= maxWaiting)
      throw new NsmError('RESOURCE_EXHAUSTED', `${waiting.length} calls already wait for ${name}`)
    await new Promise<void>((resolve, reject) => {
      const admitted = (): void => {
        signal?.removeEventListener('abort', gaveUp)
        resolve()
      }
      const gaveUp = (): void => {
        waiting.splice(waiting.indexOf(admitted), 1)
        reject(NsmError.from(signal?.reason))
      }
      signal?.addEventListener('abort', gaveUp, { once: true })
      waiting.push(admitted)
    })
  }

  function leave(name: string): void {
    const queue = queues.get(name)
    const next = queue?.waiting.shift()
    if (next !== undefined) next()
    else if (queue !== undefined && (queue.running -= 1) === 0) queues.delete(name)
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
