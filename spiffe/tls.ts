import { constants, X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import {
  connect,
  createSecureContext,
  TLSSocket,
  type DetailedPeerCertificate,
  type SecureContext,
} from 'node:tls'
import type { Authorise } from './authorise.ts'
import { reasonOf, SpiffeError } from './errors.ts'
import type { SpiffeId } from './spiffe-id.ts'
import type { X509Source, X509State, X509Svid } from './svid.ts'
import { verifyChain } from './verify.ts'

/** A session whose both ends have proven who they are. */
export interface TlsPeer {
  /** Paused until somebody reads; whoever takes it listens for its errors. */
  readonly socket: TLSSocket
  readonly spiffeId: SpiffeId
  /** The leaf that the other end showed. */
  readonly certificate: X509Certificate
  /** The SVID that this end showed. */
  readonly localSvid: X509Svid
}

/** One context per SVID: making one costs more than a handshake. */
const contexts = new WeakMap<X509Svid, SecureContext>()

const maxChain = 8
const alpn = ['h2']

/**
 * The server's half of mutual TLS over any duplex. Shows the SVID that is current now, demands one in return, verifies it
 * against the bundles of now and asks `authorise`; only then does the socket leave. A silent peer is waited for until
 * `signal` aborts. On every failure the duplex is destroyed.
 * @throws SpiffeError UNAUTHENTICATED (the peer's SVID is refused), PERMISSION_DENIED (by `authorise`, or this end has no
 * identity), UNAVAILABLE (the handshake broke), CANCELLED (`signal`).
 */
export async function secureServerSocket(
  duplex: Duplex,
  source: X509Source,
  authorise: Authorise,
  signal: AbortSignal,
): Promise<TlsPeer> {
  const open = (secureContext: SecureContext): TLSSocket =>
    new TLSSocket(duplex, {
      isServer: true,
      secureContext,
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: alpn,
    })
  return handshake({ duplex, source, authorise, signal, open, doneEvent: 'secure' })
}

/** The client's half; see `secureServerSocket`. No host name is sent or checked: the identity is the SPIFFE ID. */
export async function secureClientSocket(
  duplex: Duplex,
  source: X509Source,
  authorise: Authorise,
  signal: AbortSignal,
): Promise<TlsPeer> {
  const open = (secureContext: SecureContext): TLSSocket =>
    connect({
      socket: duplex,
      secureContext,
      ALPNProtocols: alpn,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
  return handshake({ duplex, source, authorise, signal, open, doneEvent: 'secureConnect' })
}

interface Handshake {
  readonly duplex: Duplex
  readonly source: X509Source
  readonly authorise: Authorise
  readonly signal: AbortSignal
  readonly open: (context: SecureContext) => TLSSocket
  readonly doneEvent: 'secure' | 'secureConnect'
}

async function handshake(ours: Handshake): Promise<TlsPeer> {
  let socket: TLSSocket | undefined
  try {
    if (ours.signal.aborted) throw cancelled(ours.signal)
    const localSvid = ours.source.current.svids[0]
    socket = ours.open(contextOf(localSvid))
    await finished(socket, ours)
    const peer = provenPeer(socket, ours.source.current, ours.authorise)
    // What Node's own verification would have set; HTTP/2 waits while the one is true, grpc-js hides peers while the other is false.
    Object.assign(socket, { secureConnecting: false, authorized: true })
    return { socket, localSvid, ...peer }
  } catch (err) {
    // Whatever still goes wrong while it is torn down has been told already.
    ours.duplex.on('error', () => undefined)
    socket?.destroy()
    ours.duplex.destroy()
    throw err instanceof SpiffeError ? err : broken(reasonOf(err), err)
  }
}

/** Resolves when the handshake is through. Two listeners stay: an error that comes before the caller listens must not be thrown. */
async function finished(socket: TLSSocket, ours: Handshake): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const settle = (done: () => void) => (): void => {
      socket.off(ours.doneEvent, onDone).off('error', onError).off('close', onClose)
      ours.signal.removeEventListener('abort', onAbort)
      done()
    }
    let reason: Error | undefined
    const onDone = settle(resolve)
    const onAbort = settle(() => reject(cancelled(ours.signal)))
    const onClose = settle(() => reject(reason ?? broken('the other end closed the connection')))
    const onError = (err: Error): void => settle(() => reject(err))()
    ours.signal.addEventListener('abort', onAbort, { once: true })
    socket.on(ours.doneEvent, onDone).on('error', onError).on('close', onClose)
    // A server's TLSSocket outside a tls.Server tells TLS errors only here, and does not close by itself.
    socket.on('_tlsError', (err: Error) => {
      reason = broken(reasonOf(err), err)
      socket.destroy(reason)
    })
    socket.on('error', () => undefined)
  })
}

function provenPeer(
  socket: TLSSocket,
  state: X509State,
  authorise: Authorise,
): Pick<TlsPeer, 'spiffeId' | 'certificate'> {
  if (socket.alpnProtocol !== 'h2') throw broken('the other end did not negotiate h2')
  if (socket.isSessionReused()) throw broken('the other end resumed a session, which is not offered')
  const chain = peerChain(socket)
  const spiffeId = verifyChain(chain, state.bundles, Date.now())
  if (!authorise(spiffeId)) throw new SpiffeError('PERMISSION_DENIED', `${spiffeId.id} is not authorised`)
  const [certificate] = chain
  if (certificate === undefined) throw broken('the other end showed no certificate')
  return { spiffeId, certificate }
}

/** What the peer sent, leaf first, each followed by its issuer. */
function peerChain(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = []
  const seen = new Set<string>()
  let next: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true)
  while (next?.raw !== undefined && !seen.has(next.fingerprint256 ?? '') && chain.length <= maxChain) {
    seen.add(next.fingerprint256 ?? '')
    chain.push(new X509Certificate(next.raw))
    next = next.issuerCertificate
  }
  return chain
}

function contextOf(svid: X509Svid): SecureContext {
  const cached = contexts.get(svid)
  if (cached !== undefined) return cached
  const context = createSecureContext({
    cert: svid.certificates.map((certificate) => certificate.toString()).join(''),
    key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    // No store of OpenSSL's own: peers are verified here, and an empty list spares Node its bundled roots.
    ca: [],
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  })
  contexts.set(svid, context)
  return context
}

function broken(why: string, cause?: unknown): SpiffeError {
  return new SpiffeError(
    'UNAVAILABLE',
    `tls handshake failed: ${why}`,
    cause === undefined ? undefined : { cause },
  )
}

function cancelled(signal: AbortSignal): SpiffeError {
  return new SpiffeError('CANCELLED', 'tls handshake was given up', { cause: signal.reason })
}
