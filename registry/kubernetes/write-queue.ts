import type { Clock } from '@nsm/sdk/clock.js'

/** Writes by name, a few at a time; of several that wait for one name the last counts. */
export interface WriteQueue<Item> {
  readonly size: number
  add(name: string, item: Item): void
  has(name: string): boolean
  delete(name: string): void
  close(): void
}

export interface QueueOptions {
  readonly clock: Clock
  /** At one time. */
  readonly concurrency: number
  /** Before going on when one has failed. */
  readonly pauseMs: () => number
}

/** @param write must not reject; answers false when it is to be tried again. */
export function writeQueue<Item>(
  write: (name: string, item: Item) => Promise<boolean>,
  { clock, concurrency, pauseMs }: QueueOptions,
): WriteQueue<Item> {
  const waiting = new Map<string, Item>()
  const running = new Set<string>()
  let disarm: (() => void) | undefined
  let isClosed = false

  function work(): void {
    for (const [name, item] of waiting) {
      if (isClosed || disarm !== undefined || running.size >= concurrency) return
      if (!running.has(name)) void run(name, item)
    }
  }

  async function run(name: string, item: Item): Promise<void> {
    waiting.delete(name)
    running.add(name)
    const isDone = await write(name, item)
    running.delete(name)
    if (!isDone) {
      if (!waiting.has(name)) waiting.set(name, item)
      pause()
    }
    work()
  }

  function pause(): void {
    if (isClosed) return
    disarm ??= clock.after(pauseMs(), () => {
      disarm = undefined
      work()
    })
  }

  return {
    get size() {
      return waiting.size + running.size
    },
    add(name, item) {
      waiting.set(name, item)
      work()
    },
    has: (name) => waiting.has(name) || running.has(name),
    delete: (name) => void waiting.delete(name),
    close() {
      isClosed = true
      disarm?.()
    },
  }
}
