import { NsmError } from '../errors.ts'

/** Events between one who tells and one who reads at his own pace. */
export interface EventQueue<T> {
  /** Past the bound the queue is emptied and the reader gets RESOURCE_EXHAUSTED. */
  readonly push: (event: T) => void
  /** Puts the event in, bound or not: for what is bounded elsewhere. */
  force(event: T): void
  /** The reader gets what waits, then the reason. */
  readonly end: (reason: NsmError) => void
  /** All events, in order, until the signal aborts (then it just ends) or the queue is ended. For one reader. */
  drain(signal: AbortSignal): AsyncGenerator<T>
}

export function eventQueue<T>(maxQueued: number): EventQueue<T> {
  let events: T[] = []
  let ended: NsmError | undefined
  let wake = (): void => undefined

  function force(event: T): void {
    events.push(event)
    wake()
  }

  function end(reason: NsmError): void {
    ended ??= reason
    wake()
  }

  async function* drain(signal: AbortSignal): AsyncGenerator<T> {
    const stop = (): void => wake()
    signal.addEventListener('abort', stop)
    try {
      while (!signal.aborted) {
        const batch = events
        events = []
        yield* batch
        if (events.length > 0) continue
        if (ended !== undefined) throw ended
        if (signal.aborted) return
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  return {
    force,
    end,
    drain,
    push(event) {
      if (ended !== undefined) return
      if (events.length >= maxQueued) {
        events = []
        end(new NsmError('RESOURCE_EXHAUSTED', `more than ${maxQueued} events wait for their reader`))
        return
      }
      force(event)
    },
  }
}
