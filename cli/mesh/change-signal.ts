/** Wakes whoever waits for a condition over some state, after each change of it. */
export interface ChangeSignal {
  changed(): void
  /** Resolves when `condition` holds; rejects with the signal's reason when it aborts first. */
  until(condition: () => boolean, signal: AbortSignal): Promise<void>
}

export function changeSignal(): ChangeSignal {
  const waiters = new Set<() => void>()
  return {
    changed() {
      for (const wake of waiters) wake()
    },
    async until(condition, signal) {
      while (!condition()) {
        signal.throwIfAborted()
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waiters.delete(wake)
            signal.removeEventListener('abort', wake)
            resolve()
          }
          waiters.add(wake)
          signal.addEventListener('abort', wake)
        })
      }
    },
  }
}
