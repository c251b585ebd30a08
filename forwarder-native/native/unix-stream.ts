import { fstatSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { addon, unwrap, type Poller } from './addon.ts'
import { ReceivedDescriptors } from './received-descriptors.ts'
import type { PeerCredentials } from './surface.ts'

const readable = 1
const writable = 2
/** Read at once; one TLS record is 16 KiB. */
const chunkBytes = 65_536
/** Descriptors that ride on one write (§6.3), and that one recvmsg has room for. */
const descriptorsAtOnce = 64
/** Descriptors that may wait for bytes to ride on. */
const queueBound = 256

type Done = (error?: Error | null) => void
/** Which file a descriptor stands for. */
type FileKey = { readonly dev: bigint; readonly inode: bigint }

/** Shared by all sockets of the thread: filled and copied within one call. */
const chunk = Buffer.allocUnsafeSlow(chunkBytes)
const slots = new Int32Array(descriptorsAtOnce + 2)

/**
 * A connected unix stream socket that carries descriptors beside its bytes (wire contract §6.3): a sent one rides on one
 * byte of a write, a received one is kept, by device and inode, for the life of the connection. The bytes are unchanged, so TLS goes on top.
 */
export class UnixSocket extends Duplex {
  /** Owned by this object. */
  readonly fd: number
  readonly peerCredentials: PeerCredentials
  readonly #poller: Poller
  readonly #received = new ReceivedDescriptors()
  readonly #keeps: boolean
  readonly #queue: number[] = []
  #events = 0
  #write: { bytes: Buffer; from: number; descriptors: number; done: Done } | undefined

  /**
   * Takes over a connected, non-blocking socket.
   * @param keepsDescriptors false = what arrives is closed at once, for a process that has no use for it
   */
  constructor(fd: number, keepsDescriptors = true) {
    super({ allowHalfOpen: true })
    this.fd = fd
    this.#keeps = keepsDescriptors
    this.#poller = new (addon().Poller)(fd, (events) => this.#ready(events))
    this.peerCredentials = unwrap(addon().peerCredentials(fd))
  }

  /** How many received descriptors were closed because there was no room: more than 256 kept, or too many in one message. */
  get droppedDescriptors(): number {
    return this.#received.dropped
  }

  /** Queues a duplicate of `fd`; it leaves with the next bytes written. Answers its key. The caller keeps `fd`. */
  send(fd: number): FileKey {
    if (this.destroyed) throw new Error('the socket is closed')
    if (this.#queue.length >= queueBound)
      throw new Error(`${queueBound} descriptors wait already for bytes to ride on`)
    const copy = unwrap(addon().duplicate(fd))
    this.#queue.push(copy)
    const { dev, ino } = fstatSync(copy, { bigint: true })
    return { dev, inode: ino }
  }

  /**
   * A duplicate of the descriptor with this key, now or as soon as it arrives; the caller closes it.
   * Rejects when the signal aborts or the socket closes.
   */
  async receive(dev: bigint, inode: bigint, signal: AbortSignal): Promise<number> {
    return this.#received.take(dev, inode, signal)
  }

  /** Closes what was received under this key. */
  forget(dev: bigint, inode: bigint): void {
    this.#received.forget(dev, inode)
  }

  /**
   * Whether the process that opened the other end has not ended; a later one that has its number is not taken for it (before kernel 6.5:
   * from the first time of asking on). Needs no rights.
   */
  peerIsAlive(): boolean {
    return !this.destroyed && unwrap(addon().peerIsAlive(this.fd, 0))
  }

  /** The network namespace of the process at the other end; the caller closes it. */
  async peerNetns(): Promise<number> {
    if (this.destroyed) throw new Error('the socket is closed')
    return unwrap(await addon().peerNetns(this.fd, 0))
  }

  /** Keeps the process alive while open, as is the default. */
  ref(): this {
    this.#poller.keepAlive(true)
    return this
  }

  /** Lets the process end although this is open. */
  unref(): this {
    this.#poller.keepAlive(false)
    return this
  }

  override _read(): void {
    this.#watch(this.#events | readable)
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#begin(bytes, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    this.#begin(Buffer.concat(chunks.map((one) => one.chunk)), done)
  }

  override _final(done: Done): void {
    attempt(() => void unwrap(addon().shutdownWrite(this.fd)), done)
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#poller.close()
    this.#received.close(error ?? new Error('the socket is closed'))
    for (const fd of this.#queue.splice(0)) unwrap(addon().close(fd))
    const pending = this.#write
    this.#write = undefined
    attempt(
      () => void unwrap(addon().close(this.fd)),
      (failure) => {
        pending?.done(error ?? new Error('the socket is closed'))
        done(error ?? failure)
      },
    )
  }

  #watch(events: number): void {
    if (this.destroyed || events === this.#events) return
    this.#events = events
    const failed = this.#poller.watch(events)
    if (failed < 0) this.destroy(new Error(`the socket cannot be polled: ${failed}`))
  }

  #ready(events: number): void {
    // An error condition shows as an errno at the next call, so both directions look; libuv has stopped watching by then.
    const failed = events < 0
    try {
      if ((failed || (events & readable) !== 0) && (this.#events & readable) !== 0) this.#fill()
      if ((failed || (events & writable) !== 0) && this.#write !== undefined && !this.destroyed) this.#flush()
      if (failed && !this.destroyed) this.#poller.watch(this.#events)
    } catch (reason) {
      this.destroy(reason as Error)
    }
  }

  #fill(): void {
    const length = unwrap(addon().receive(this.fd, chunk, slots))
    if (length < 0) return
    const count = slots[descriptorsAtOnce] ?? 0
    for (const fd of slots.subarray(0, count)) {
      if (this.#keeps) this.#received.put(fd)
      else unwrap(addon().close(fd))
    }
    if (slots[descriptorsAtOnce + 1] !== 0) this.#received.lose()
    if (length === 0) {
      this.#watch(this.#events & ~readable)
      this.push(null)
    } else if (!this.push(Buffer.from(chunk.subarray(0, length)))) {
      this.#watch(this.#events & ~readable)
    }
  }

  #begin(bytes: Buffer, done: Done): void {
    const descriptors = Math.min(this.#queue.length, descriptorsAtOnce, bytes.length)
    this.#write = { bytes, from: 0, descriptors, done }
    try {
      this.#flush()
    } catch (reason) {
      this.#finish(reason as Error)
    }
  }

  /** One descriptor on each of the first bytes, then the rest of the bytes; goes on when the socket is writable. */
  #flush(): void {
    const write = this.#write
    if (write === undefined) return
    while (write.from < write.bytes.length) {
      const fd = write.descriptors > 0 ? (this.#queue[0] ?? -1) : -1
      const sent = unwrap(addon().send(this.fd, write.bytes, write.from, fd))
      if (sent < 0) return this.#watch(this.#events | writable)
      write.from += sent
      if (fd < 0) continue
      write.descriptors--
      this.#queue.shift()
      unwrap(addon().close(fd))
    }
    this.#finish()
  }

  #finish(error?: Error): void {
    const write = this.#write
    this.#write = undefined
    this.#watch(this.#events & ~writable)
    write?.done(error ?? null)
  }
}

function attempt(action: () => void, done: (failure: Error | null) => void): void {
  let failure: Error | null = null
  try {
    action()
  } catch (reason) {
    failure = reason as Error
  }
  done(failure)
}
