import type { X509Source } from '@nsm/spiffe/svid.js'
import { anyId, type Authorise } from '@nsm/spiffe/authorise.js'
import { secureServerSocket } from '@nsm/spiffe/tls.js'
import { systemClock, type Clock } from '../clock.ts'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { keepsNoDescriptorsHeader } from './call.ts'
import { handshakes } from './handshakes.ts'
import { listen, type Listener, type RawConnection } from './listen.ts'
import { serveSession, type ServerSession } from './server-session.ts'
import { servedMethods, type Services } from './services.ts'
import type { UnixTransport } from './unix.ts'

/** Bounds of one server; each has a default that suits a node's manager. */
export interface ServerLimits {
  /** Largest request message; default 64 KiB. */
  readonly maxRequestBytes?: number
  /** Largest answer message; default 4 MiB. */
  readonly maxResponseBytes?: number
  /** Sessions at once; more are refused. Default 4096. */
  readonly maxConnections?: number
  /** Handshakes at once; the oldest one gives way. Default 256. */
  readonly maxHandshakes?: number
  /** Default 5 s. */
  readonly handshakeTimeoutMs?: number
  /** Calls at once in one session, streams included. Default 4096. */
  readonly maxStreams?: number
  /** From a request's headers to its last byte; default 10 s. */
  readonly bodyTimeoutMs?: number
}

export interface ServerOptions {
  /** `unix:///path`, `tcp://host:port`, `tcp://:port`. */
  readonly listenOn: readonly string[]
  readonly source: X509Source
  /** Which peers may connect; default every proven identity. */
  readonly authorise?: Authorise
  /** Needed for `unix:` alone. */
  readonly unix?: UnixTransport | undefined
  readonly services: Services
  readonly limits?: ServerLimits
  readonly log: Logger
  readonly clock?: Clock
}

export interface RunningServer {
  /** Same order as `listenOn`, with the ports really taken. */
  readonly urls: readonly string[]
  /** Stops listening, ends streams, gives unary calls `graceMs` to finish. */
  close(graceMs: number): Promise<void>
}

const defaults: Required<ServerLimits> = {
  maxRequestBytes: 64 * 1024,
  maxResponseBytes: 4 * 1024 * 1024,
  maxConnections: 4096,
  maxHandshakes: 256,
  handshakeTimeoutMs: 5000,
  maxStreams: 4096,
  bodyTimeoutMs: 10_000,
}

const answerHeaders = { [keepsNoDescriptorsHeader]: 'true' }

/** Serves gRPC over mutual TLS. @throws NsmError INVALID_ARGUMENT or UNAVAILABLE when one of the URLs cannot be listened on. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { log } = options
  const sessions = newSessions(options)
  const listeners: Listener[] = []
  try {
    for (const url of options.listenOn) {
      listeners.push(
        await listen(url, { log, unix: options.unix, onConnection: (raw) => void sessions.add(raw) }),
      )
    }
  } catch (err) {
    await Promise.all(listeners.map((listener) => listener.close()))
    throw err
  }

  return {
    urls: listeners.map(({ url }) => url),
    async close(graceMs) {
      const released = listeners.map((listener) => listener.close())
      await sessions.close(graceMs)
      await Promise.all(released)
    },
  }
}

interface Sessions {
  add(raw: RawConnection): Promise<void>
  close(graceMs: number): Promise<void>
}

/** All connections of a server, from accept to end. */
function newSessions(options: ServerOptions): Sessions {
  const { log, source, authorise = anyId, clock = systemClock } = options
  const limits = { ...defaults, ...options.limits }
  const shared = { ...limits, methods: servedMethods(options.services), log, clock, headers: answerHeaders }
  const pending = handshakes({ max: limits.maxHandshakes, timeoutMs: limits.handshakeTimeoutMs }, clock)
  const sessions = new Set<ServerSession>()
  let onIdle: (() => void) | undefined
  let closing = false

  const serve = async (raw: RawConnection, signal: AbortSignal): Promise<void> => {
    const secured = await secureServerSocket(raw.socket, source, authorise, signal)
    const { socket, spiffeId, certificate, localSvid } = secured
    const peer = { spiffeId: spiffeId.id, certificate, localSvid, descriptors: raw.descriptors }
    socket.on('error', (err) =>
      log.debug({ err: err.message, spiffe_id: peer.spiffeId }, 'connection failed'),
    )
    signal.throwIfAborted()
    // Node clears it for sockets of a tls.Server alone, and HTTP/2 would wait for a 'secureConnect' that never comes.
    Object.assign(socket, { secureConnecting: false })
    const session = serveSession(socket, { ...shared, peer }, () => {
      sessions.delete(session)
      if (sessions.size === 0) onIdle?.()
    })
    sessions.add(session)
  }

  return {
    async add(raw) {
      // An unhandled 'error' would end the process; the handshake tells what went wrong.
      raw.socket.on('error', () => undefined)
      try {
        if (closing) throw new NsmError('UNAVAILABLE', 'server is stopping')
        if (sessions.size >= limits.maxConnections) {
          throw new NsmError('RESOURCE_EXHAUSTED', `more than ${limits.maxConnections} sessions at once`)
        }
        await pending.run((signal) => serve(raw, signal))
      } catch (reason) {
        const { code, message } = NsmError.from(reason)
        log.info({ code, err: message }, 'connection refused')
        raw.socket.destroy()
      }
    },

    async close(graceMs) {
      closing = true
      pending.abort(new NsmError('UNAVAILABLE', 'server is stopping'))
      for (const session of sessions) session.close()
      if (sessions.size === 0) return
      const idle = new Promise<void>((resolve) => (onIdle = resolve))
      const disarm = clock.after(graceMs, () => {
        for (const session of sessions) session.destroy()
      })
      await idle
      disarm()
    },
  }
}
