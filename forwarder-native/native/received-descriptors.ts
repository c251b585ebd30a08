import { fstatSync } from 'node:fs'
import { addon, unwrap } from './addon.ts'

/** Descriptors that one connection may have put here; more are closed as they come. */
const keptBound = 256
/** Calls that may wait for a descriptor on one connection. */
const waitingBound = 1024
/** What no call has forgotten after this long belongs to calls that were refused before they asked for it. */
const keptMs = 60_000

interface Waiting {
  give(fd: number): void
  refuse(reason: unknown): void
}

/** One open file, and how often it arrived: calls that name one file at the same time each forget it once. */
interface Kept {
  readonly fd: number
  arrivals: number
  /** Of the last arrival, in ms. */
  time: number
}

/** What arrived on one connection, by device and inode; closed with it. */
export class ReceivedDescriptors {
  readonly #kept = new Map<string, Kept>()
  readonly #now: () => number
  readonly #waiting = new Map<string, Set<Waiting>>()
  #waits = 0
  #dropped = 0
  #closed: Error | undefined

  /** How many were closed for want of room; those that the kernel dropped from one message count as one. */
  get dropped(): number {
    return this.#dropped
  }

  /** @param now the time in ms, from any start; a parameter for tests */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Takes over a descriptor; one whose file is here already is closed. */
  put(fd: number): void {
    const { dev, ino } = fstatSync(fd, { bigint: true })
    const key = `${dev}/${ino}`
    this.#sweep()
    const known = this.#kept.get(key)
    if (known !== undefined) this.#renew(key, known)
    if (known !== undefined || this.#kept.size >= keptBound || this.#closed !== undefined) {
      if (known === undefined) this.#dropped++
      unwrap(addon().close(fd))
      return
    }
    this.#kept.set(key, { fd, arrivals: 1, time: this.#now() })
    for (const one of this.#waiting.get(key) ?? []) {
      try {
        one.give(unwrap(addon().duplicate(fd)))
      } catch (reason) {
        one.refuse(reason)
      }
    }
  }

  /** Notes that the kernel dropped some. */
  lose(): void {
    this.#dropped++
  }

  /** A duplicate, now or when it arrives; the caller closes it. */
  async take(dev: bigint, inode: bigint, signal: AbortSignal): Promise<number> {
    signal.throwIfAborted()
    if (this.#closed !== undefined) throw this.#closed
    const key = `${dev}/${inode}`
    const known = this.#kept.get(key)
    if (known !== undefined) return unwrap(addon().duplicate(known.fd))
    if (this.#waits >= waitingBound) throw new Error(`${waitingBound} calls wait already for descriptors`)
    return this.#wait(key, signal)
  }

  /** Undoes one arrival; the last one closes the descriptor. */
  forget(dev: bigint, inode: bigint): void {
    const key = `${dev}/${inode}`
    const known = this.#kept.get(key)
    if (known === undefined) return
    known.arrivals--
    if (known.arrivals > 0) return
    this.#kept.delete(key)
    unwrap(addon().close(known.fd))
  }

  close(reason: Error): void {
    this.#closed = reason
    for (const group of this.#waiting.values()) for (const one of group) one.refuse(reason)
    for (const { fd } of this.#kept.values()) unwrap(addon().close(fd))
    this.#kept.clear()
  }

  /** To the end of the map, which is in the order of last arrivals. */
  #renew(key: string, known: Kept): void {
    this.#kept.delete(key)
    this.#kept.set(key, { fd: known.fd, arrivals: known.arrivals + 1, time: this.#now() })
  }

  #sweep(): void {
    const oldest = this.#now() - keptMs
    for (const [key, { fd, time }] of this.#kept) {
      if (time > oldest) return
      this.#kept.delete(key)
      unwrap(addon().close(fd))
    }
  }

  #wait(key: string, signal: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      const group = this.#waiting.get(key) ?? new Set()
      const end = (): void => {
        signal.removeEventListener('abort', abort)
        this.#waits--
        group.delete(one)
        if (group.size === 0) this.#waiting.delete(key)
      }
      const one: Waiting = {
        give(fd) {
          end()
          resolve(fd)
        },
        refuse(reason) {
          end()
          reject(reason)
        },
      }
      const abort = (): void => one.refuse(signal.reason)
      signal.addEventListener('abort', abort, { once: true })
      this.#waits++
      this.#waiting.set(key, group.add(one))
    })
  }
}
