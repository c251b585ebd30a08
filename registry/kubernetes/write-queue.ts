import type { Clock } from '@nsm/sdk/clock.js'
import type { Outage } from './outage.ts'

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
  readonly outage: Pick<Outage, 'isLost'>
  /** At one time. */
  readonly concurrency: number
  /** While nobody answers, all wait for so long after a failure, up to twice as long. */
  readonly pauseMs: number
  /** Otherwise the one that failed rests for so long, up to twice as long, and the others go on. */
  readonly restMs: number
  readonly random: () => number
}

/** @param write must not reject; answers false when it is to be tried again. */
export function writeQueue<Item>(
  write: (name: string, item: Item) => Promise<boolean>,
  { clock, outage, concurrency, pauseMs, restMs, random }: QueueOptions,
): WriteQueue<Item> {
  const waiting = new Map<string, Item>()
  const running = new Set<string>()
  const later = (ms: number, what: () => void): (() => void) => clock.after(ms * (1 + random()), what)
  const resting = restingItems<Item>(
    (wake) => later(restMs, wake),
    (name, item) => add(name, item),
  )
  let disarm: (() => void) | undefined
  let isClosed = false

  function add(name: string, item: Item): void {
    waiting.set(name, item)
    work()
  }

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
    if (!isDone && !isClosed) again(name, waiting.get(name) ?? item)
    work()
  }

  function again(name: string, item: Item): void {
    waiting.delete(name)
    if (!outage.isLost) {
      resting.add(name, item)
      return
    }
    waiting.set(name, item)
    disarm ??= later(pauseMs, () => {
      disarm = undefined
      work()
    })
  }

  return {
    get size() {
      return waiting.size + running.size + resting.size
    },
    add: (name, item) => (resting.has(name) ? resting.change(name, item) : add(name, item)),
    has: (name) => waiting.has(name) || running.has(name) || resting.has(name),
    delete(name) {
      waiting.delete(name)
      resting.delete(name)
    },
    close() {
      isClosed = true
      disarm?.()
      resting.close()
    },
  }
}

interface Resting<Item> {
  readonly size: number
  has(name: string): boolean
  add(name: string, item: Item): void
  /** Rests no longer for that. */
  change(name: string, item: Item): void
  delete(name: string): void
  close(): void
}

/** Items that are left alone for a while, each for its own. */
function restingItems<Item>(
  after: (wake: () => void) => () => void,
  over: (name: string, item: Item) => void,
): Resting<Item> {
  const all = new Map<string, { readonly item: Item; readonly disarm: () => void }>()

  function remove(name: string): void {
    all.get(name)?.disarm()
    all.delete(name)
  }

  return {
    get size() {
      return all.size
    },
    has: (name) => all.has(name),
    add(name, first) {
      const disarm = after(() => {
        const { item } = all.get(name) ?? { item: first }
        all.delete(name)
        over(name, item)
      })
      all.set(name, { item: first, disarm })
    },
    change(name, item) {
      const one = all.get(name)
      if (one !== undefined) all.set(name, { ...one, item })
    },
    delete: remove,
    close() {
      for (const name of all.keys()) remove(name)
    },
  }
}
