import { HealthCheckResponse_ServingStatus as Status } from '@nsm/api/gen/health.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { systemClock, type Clock } from '../clock.ts'
import type { Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { silent, type Logger } from '../log.ts'
import type { TokenGenerator } from '../tokens.ts'
import { keepsNoDescriptorsHeader } from './call.ts'
import { callerOf } from './caller.ts'
import { healthCheckMethod } from './methods.ts'
import type { Dial, Remote } from './remote.ts'
import { remoteServices, type Caller } from './remote-services.ts'
import { openSession, type SecureSession } from './session.ts'
import type { UnixTransport } from './unix.ts'

export interface DialerOptions {
  readonly source: X509Source
  readonly tokens: TokenGenerator
  /** Needed for `unix:` alone. */
  readonly unix?: UnixTransport | undefined
  /** For TCP, TLS and HTTP/2 together (wire contract §4.1). */
  readonly dialTimeoutMs: number
  /** How long a session that nobody uses stays open for the next user; default 30 s. */
  readonly idleMs?: number
  /** Largest answer message; default 4 MiB. */
  readonly maxResponseBytes?: number
  readonly log?: Logger
  readonly clock?: Clock
}

export interface Dialer {
  readonly dial: Dial
  /** The peer's health by the standard protocol. @throws NsmError, NOT_FOUND for a service that it does not know. */
  checkHealth(ctx: Ctx, url: string, service: string): Promise<Status>
  /** Ends all sessions at once. */
  close(): void
}

/** A session with those who use it. */
interface Shared {
  readonly url: string
  readonly opening: AbortController
  readonly ready: Promise<SecureSession>
  /** The SVID that was current when it was opened. */
  readonly svid: string
  session: SecureSession | undefined
  users: number
  /** undefined until the first answer tells. */
  peerKeepsNone: boolean | undefined
  sentDescriptors: boolean
  cancelIdle: (() => void) | undefined
}

const defaultIdleMs = 30_000
const defaultResponseBytes = 4 * 1024 * 1024

/**
 * Opens sessions and shares them by URL. One that was made with an SVID that has since rotated, that has ended, or on
 * which descriptors went to a peer that keeps them, is not given out again: it ends with its last user.
 */
export function dialer(options: DialerOptions): Dialer {
  const { clock = systemClock, log = silent, idleMs = defaultIdleMs } = options
  const all = new Set<Shared>()
  let closed = false

  const currentSvid = (): string => options.source.current.svids[0].certificates[0].fingerprint256

  const isShareable = (shared: Shared): boolean =>
    (shared.session?.grpc.usable ?? true) &&
    !shared.opening.signal.aborted &&
    shared.svid === currentSvid() &&
    !(shared.sentDescriptors && shared.peerKeepsNone !== true)

  const find = (url: string): Shared | undefined => {
    for (const shared of all) if (shared.url === url && isShareable(shared)) return shared
    return undefined
  }

  const end = (shared: Shared): void => {
    shared.opening.abort(new NsmError('CANCELLED', `nobody waits for ${shared.url} any more`))
    shared.session?.grpc.close()
  }

  const open = (url: string): Shared => {
    const opening = new AbortController()
    const text = `cannot connect to ${url} within ${options.dialTimeoutMs} ms`
    const disarm = clock.after(options.dialTimeoutMs, () => opening.abort(new NsmError('UNAVAILABLE', text)))
    const sessionOptions = {
      source: options.source,
      unix: options.unix,
      maxResponseBytes: options.maxResponseBytes ?? defaultResponseBytes,
      onSend: () => (shared.sentDescriptors = true),
    }
    const ready = openSession(url, sessionOptions, opening.signal)
    const shared: Shared = {
      url,
      opening,
      ready,
      svid: currentSvid(),
      session: undefined,
      users: 0,
      peerKeepsNone: undefined,
      sentDescriptors: false,
      cancelIdle: undefined,
    }
    all.add(shared)
    ready.then(
      (session) => {
        disarm()
        shared.session = session
        session.grpc.closed.addEventListener('abort', () => forget(shared), { once: true })
        log.debug({ url, spiffe_id: session.peer.spiffeId }, 'session opened')
        if (opening.signal.aborted) session.grpc.close()
      },
      () => {
        disarm()
        forget(shared)
      },
    )
    return shared
  }

  const forget = (shared: Shared): void => {
    shared.cancelIdle?.()
    all.delete(shared)
  }

  const release = (shared: Shared): void => {
    shared.users -= 1
    if (shared.users > 0) return
    if (shared.session === undefined || closed || !isShareable(shared)) end(shared)
    else shared.cancelIdle = clock.after(idleMs, () => end(shared))
  }

  /** The caller must `release`. */
  const acquire = async (ctx: Ctx, url: string): Promise<[Shared, SecureSession]> => {
    if (closed) throw new NsmError('UNAVAILABLE', `cannot dial ${url}: this process is stopping`)
    const shared = find(url) ?? open(url)
    shared.users += 1
    shared.cancelIdle?.()
    try {
      return [shared, await orAborted(shared.ready, ctx.signal)]
    } catch (reason) {
      release(shared)
      throw NsmError.from(reason)
    }
  }

  const callerFor = (shared: Shared, session: SecureSession, tokens?: TokenGenerator): Caller =>
    callerOf(session, tokens, (headers) => {
      shared.peerKeepsNone ??= headers[keepsNoDescriptorsHeader] === 'true'
    })

  return {
    async dial(ctx, url) {
      const [shared, session] = await acquire(ctx, url)
      return remoteOf(session, callerFor(shared, session, options.tokens), () => release(shared))
    },
    async checkHealth(ctx, url, service) {
      const [shared, session] = await acquire(ctx, url)
      try {
        const { status } = await callerFor(shared, session).unary(ctx, healthCheckMethod, { service })
        return status
      } finally {
        release(shared)
      }
    },
    close() {
      closed = true
      const reason = new NsmError('UNAVAILABLE', 'this process is stopping')
      for (const shared of all) {
        shared.opening.abort(reason)
        shared.session?.grpc.destroy(reason)
      }
    },
  }
}

function remoteOf(session: SecureSession, caller: Caller, release: () => void): Remote {
  let released = false
  return {
    url: session.url,
    peer: session.peer,
    closed: session.grpc.closed,
    ...remoteServices(caller),
    release() {
      if (released) return
      released = true
      release()
    },
  }
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(NsmError.from(signal.reason))
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
