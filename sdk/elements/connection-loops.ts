import type { EventOptions } from './begin.ts'

/** Work in the background for one connection, which may run events of that connection. */
export interface Loop {
  readonly signal: AbortSignal
  /** For the loop's own events: one that is still waiting when a newer loop begins is not wanted any more. */
  readonly event: Required<EventOptions>
  /** No newer loop has begun, and nobody has stopped it. */
  current(): boolean
}

/** At most one loop for each connection id. */
export interface ConnectionLoops {
  /** Begins a loop in place of the one before. */
  start(id: string, run: (loop: Loop) => Promise<void>): void
  readonly stop: (id: string) => void
  readonly stopAll: () => void
  has(id: string): boolean
}

interface Running {
  readonly controller: AbortController
  /** In the middle of an own event: that may be the very one that begins the next loop. */
  inEvent: boolean
}

/** `failed` hears of what a loop throws while it is current. */
export function connectionLoops(failed: (id: string, err: unknown) => void): ConnectionLoops {
  const loops = new Map<string, Running>()

  function stop(id: string): void {
    loops.get(id)?.controller.abort()
    loops.delete(id)
  }

  return {
    start(id, run) {
      const before = loops.get(id)
      if (before?.inEvent === false) before.controller.abort()
      const running: Running = { controller: new AbortController(), inEvent: false }
      const { signal } = running.controller
      const current = (): boolean => loops.get(id) === running
      const when = (): boolean => {
        running.inEvent = current()
        return running.inEvent
      }
      loops.set(id, running)
      run({ signal, current, event: { signal, when } }).catch((err: unknown) => {
        if (current()) failed(id, err)
      })
    },
    stop,
    stopAll() {
      for (const id of loops.keys()) stop(id)
    },
    has: (id) => loops.has(id),
  }
}
