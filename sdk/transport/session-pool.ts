import { setMaxListeners } from 'node:events'
import { statSync } from 'node:fs'
import type { X509Source } from '@nsm/spiffe/svid.js'
import type { Clock } from '../clock.ts'
import type { Ctx } from '../ctx.ts'
import { formatInodeUrl } from '../descriptors.ts'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { openSession, type SecureSession } from './session.ts'
import type { UnixTransport } from './unix.ts'

export interface SessionPoolOptions {
  readonly source: X509Source
  readonly unix: UnixTransport | undefined
  readonly dialTimeoutMs: number
  readonly idleMs: number
  readonly maxResponseBytes: number
  readonly log: Logger
  readonly clock: Clock
}

/** One user's share of a session. */
export interface Lease {
  readonly session: SecureSession
  /** Tells whether the peer closes received descriptors after each call; the first answer counts. */
  learn(peerKeepsNone: boolean): void
  /**
   * Tells that a call failed. A peer that was given descriptors may have refused it before it looked for them, and still hold them;
   * one that did not answer at all may never do so again.
   */
  failed(answered: boolean): void
  /** At most once. */
  release(): void
}

export interface SessionPool {
  acquire(ctx: Ctx, url: string): Promise<Lease>
  /** Ends all sessions at once. */
  close(): void
}

/** A session with those who use it. */
interface Shared {
  readonly url: string
  /** What it leads to: the URL, or the inode behind a URL that names a descriptor. */
  readonly target: string
  /** Fingerprint of the SVID that was current when it was opened. */
  readonly svid: string
  readonly opening: AbortController
  session: SecureSession | undefined
  users: number
  /** undefined until the first answer tells. */
  peerKeepsNone: boolean | undefined
  sentDescriptors: boolean
  /** Not to be given out again. */
  retired: boolean
  stopIdling: () => void
}

/**
 * Shares sessions by URL. One that was made with an SVID that has since rotated, that has ended, or on which descriptors
 * went to a peer that keeps them, is not given out again: it ends with its last user.
 */
export function sessionPool(options: SessionPoolOptions): SessionPool {
  const all = new Map<Shared, Promise<SecureSession>>()
  const stopping = new NsmError('UNAVAILABLE', 'this process is stopping')
  let closed = false

  const isGood = (shared: Shared): boolean => isShareable(shared, svidOf(options.source))

  const release = (shared: Shared): void => {
    shared.users -= 1
    if (shared.users > 0) return
    if (shared.session === undefined || closed || !isGood(shared)) end(shared)
    else shared.stopIdling = options.clock.after(options.idleMs, () => end(shared))
  }

  const open = (url: string, target: string): readonly [Shared, Promise<SecureSession>] => {
    const shared = newShared(url, target, options)
    const ready = opened(shared, options)
    all.set(shared, ready)
    const forget = (): void => {
      shared.stopIdling()
      all.delete(shared)
    }
    ready.then(({ grpc }) => grpc.closed.addEventListener('abort', forget, { once: true }), forget)
    return [shared, ready]
  }

  return {
    async acquire({ signal }, url) {
      if (closed) throw stopping
      const target = targetOf(url)
      const found = [...all].find(([shared]) => shared.target === target && isGood(shared))
      const [shared, ready] = found ?? open(url, target)
      shared.users += 1
      shared.stopIdling()
      try {
        const session = shared.session ?? (await orAborted(ready, signal))
        return {
          session,
          learn: (peerKeepsNone) => (shared.peerKeepsNone ??= peerKeepsNone),
          failed(answered) {
            if (shared.sentDescriptors || !answered) shared.retired = true
          },
          release: once(() => release(shared)),
        }
      } catch (reason) {
        release(shared)
        throw NsmError.from(reason)
      }
    },
    close() {
      closed = true
      for (const { opening, session } of all.keys()) {
        opening.abort(stopping)
        session?.grpc.destroy(stopping)
      }
    },
  }
}

function newShared(url: string, target: string, { source }: SessionPoolOptions): Shared {
  return {
    url,
    target,
    svid: svidOf(source),
    opening: new AbortController(),
    session: undefined,
    users: 0,
    peerKeepsNone: undefined,
    sentDescriptors: false,
    retired: false,
    stopIdling: () => undefined,
  }
}

async function opened(shared: Shared, options: SessionPoolOptions): Promise<SecureSession> {
  const { url, opening } = shared
  const { clock, dialTimeoutMs, log } = options
  const late = new NsmError('UNAVAILABLE', `no session to ${url} within ${dialTimeoutMs} ms`)
  const disarm = clock.after(dialTimeoutMs, () => opening.abort(late))
  const onSend = (): void => {
    shared.sentDescriptors = true
  }
  try {
    const session = await openSession(url, { ...options, onSend }, opening.signal)
    shared.session = session
    log.debug({ url, spiffe_id: session.peer.spiffeId }, 'session opened')
    if (opening.signal.aborted) session.grpc.close()
    return session
  } finally {
    disarm()
  }
}

function isShareable(shared: Shared, svid: string): boolean {
  const { session, opening, sentDescriptors, peerKeepsNone, retired } = shared
  if (retired || opening.signal.aborted || session?.grpc.usable === false || shared.svid !== svid)
    return false
  return !sentDescriptors || peerKeepsNone === true
}

function end({ url, opening, session }: Shared): void {
  opening.abort(new NsmError('CANCELLED', `nobody uses the session to ${url} any more`))
  session?.grpc.close()
}

const descriptorUrl = /^unix:(?:\/\/)?(\/proc\/\w+\/fd\/\d+)$/

/** A descriptor's number may mean another socket the next time. @throws NsmError UNAVAILABLE when it is closed. */
function targetOf(url: string): string {
  const path = descriptorUrl.exec(url)?.[1]
  if (path === undefined) return url
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return formatInodeUrl({ dev, inode: ino })
  } catch (cause) {
    throw new NsmError('UNAVAILABLE', `cannot dial ${url}: the descriptor is closed`, { cause })
  }
}

function svidOf(source: X509Source): string {
  return source.current.svids[0].certificates[0].fingerprint256
}

function once(run: () => void): () => void {
  let done = false
  return () => {
    if (done) return
    done = true
    run()
  }
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(NsmError.from(signal.reason))
    setMaxListeners(0, signal)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
