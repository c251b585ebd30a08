import { CallCredentials, ChannelCredentials, ServerCredentials, type Server } from '@grpc/grpc-js'
import { X509Certificate } from 'node:crypto'
import type { Server as Listener, Socket } from 'node:net'
import type { Authorise } from './authorise.ts'
import { reasonOf, SpiffeError } from './errors.ts'
import { leafIdentity } from './leaf.ts'
import type { SpiffeId } from './spiffe-id.ts'
import type { X509Source } from './svid.ts'
import { secureClientSocket, secureServerSocket } from './tls.ts'

const handshakeTimeoutMs = 10_000
const maxHandshakes = 256

/**
 * Credentials for a grpc-js channel: mutual TLS by SVIDs. Each new connection shows the SVID of that moment and verifies by the
 * bundles of that moment; open ones go on through rotations (bound them by `grpc.max_connection_age_ms` at the server).
 */
export function channelCredentials(source: X509Source, authorise: Authorise): ChannelCredentials {
  return new SpiffeChannelCredentials(source, authorise)
}

export interface ServeOptions {
  /** With its services added; not bound to a port by itself. */
  readonly server: Server
  /** TCP or unix, listening or about to. */
  readonly listener: Listener
  readonly source: X509Source
  readonly authorise: Authorise
  /** Hears of every connection that was turned away. */
  readonly onRefused?: (err: SpiffeError) => void
}

/**
 * Serves a grpc-js server over mutual TLS by SVIDs to everybody who connects to `listener`; see `channelCredentials` for
 * rotation. A handshake may take 10 s, and 256 may be under way at once. The answer ends handshakes and takes no more
 * connections; the listener and the server stay the caller's to close.
 */
export function serveSecure({ server, listener, source, authorise, onRefused }: ServeOptions): () => void {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  const stop = new AbortController()
  let handshakes = 0

  const secure = async (raw: Socket): Promise<void> => {
    if (handshakes >= maxHandshakes) {
      raw.destroy()
      throw new SpiffeError('RESOURCE_EXHAUSTED', `more than ${maxHandshakes} handshakes at once`)
    }
    handshakes += 1
    try {
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(handshakeTimeoutMs)])
      const { socket } = await secureServerSocket(raw, source, authorise, signal)
      injector.injectConnection(socket)
    } finally {
      handshakes -= 1
    }
  }
  const accept = (raw: Socket): void => {
    raw.on('error', () => undefined)
    secure(raw).catch((err: unknown) => {
      onRefused?.(
        err instanceof SpiffeError ? err : new SpiffeError('UNAVAILABLE', reasonOf(err), { cause: err }),
      )
    })
  }
  listener.on('connection', accept)
  return () => {
    listener.off('connection', accept)
    stop.abort()
  }
}

/**
 * Who is at the other end of a call over these credentials: pass the `call` of a handler, or a client's.
 * Undefined when the call is not, or not yet, on such a connection.
 */
export function peerId(call: {
  getAuthContext(): { sslPeerCertificate?: { raw?: Buffer } } | null
}): SpiffeId | undefined {
  const raw = call.getAuthContext()?.sslPeerCertificate?.raw
  return raw === undefined ? undefined : leafIdentity(new X509Certificate(raw))
}

type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>

class SpiffeChannelCredentials extends ChannelCredentials {
  readonly #source: X509Source
  readonly #authorise: Authorise

  constructor(source: X509Source, authorise: Authorise) {
    super()
    this.#source = source
    this.#authorise = authorise
  }

  override _isSecure(): boolean {
    return true
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials?: CallCredentials,
  ): Connector {
    const stop = new AbortController()
    const perCall = callCredentials ?? CallCredentials.createEmpty()
    return {
      connect: async (raw) => {
        const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(handshakeTimeoutMs)])
        const { socket } = await secureClientSocket(raw, this.#source, this.#authorise, signal)
        return { socket, secure: true }
      },
      waitForReady: async () => undefined,
      getCallCredentials: () => perCall,
      destroy: () => stop.abort(),
    }
  }
}
