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
  /** Nobody would answer: after a failure all wait for `pauseMs`. */
  readonly isLost: () => boolean
  readonly pauseMs: () => number
  /** Otherwise the one that failed rests for so long, and the others go on. */
  readonly restMs: () => number
}

interface Resting<Item> {
  readonly item: Item
  readonly disarm: () => void
}

/** @param write must not reject; answers false when it is to be tried again. */
export function writeQueue<Item>(
  write: (name: string, item: Item) => Promise<boolean>,
  { clock, concurrency, isLost, pauseMs, restMs }: QueueOptions,
): WriteQueue<Item> {
  const waiting = new Map<string, Item>()
  const running = new Set<string>()
  const resting = new Map<string, Resting<Item>>()
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
    if (!isDone && !isClosed) failed(name, waiting.get(name) ?? item)
    work()
  }

  function failed(name: string, item: Item): void {
    if (isLost()) {
      waiting.set(name, item)
      pause()
      return
    }
    waiting.delete(name)
    const wake = clock.after(restMs(), () => {
      waiting.set(name, resting.get(name)?.item ?? item)
      resting.delete(name)
      work()
    })
    resting.set(name, { item, disarm: wake })
  }

  function pause(): void {
    disarm ??= clock.after(pauseMs(), () => {
      disarm = undefined
      work()
    })
  }

  return {
    get size() {
      return waiting.size + running.size + resting.size
    },
    add(name, item) {
      const rest = resting.get(name)
      if (rest === undefined) waiting.set(name, item)
      else resting.set(name, { ...rest, item })
      work()
    },
    has: (name) => waiting.has(name) || running.has(name) || resting.has(name),
    delete(name) {
      waiting.delete(name)
      resting.get(name)?.disarm()
      resting.delete(name)
    },
    close() {
      isClosed = true
      disarm?.()
      for (const rest of resting.values()) rest.disarm()
    },
  }
}
