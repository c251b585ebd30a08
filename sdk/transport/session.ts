import { anyId } from '@nsm/spiffe/authorise.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { secureClientSocket } from '@nsm/spiffe/tls.js'
import { SpiffeError } from '@nsm/spiffe/errors.js'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel, Peer } from '../peer.ts'
import { openClientSession, type ClientSession } from './client-session.ts'
import { connectRaw } from './connect.ts'
import type { UnixTransport } from './unix.ts'
import { parseAddress } from './url.ts'

/** An authenticated session of a client. */
export interface SecureSession {
  readonly url: string
  readonly peer: Peer
  readonly grpc: ClientSession
}

export interface SecureSessionOptions {
  readonly source: X509Source
  readonly unix: UnixTransport | undefined
  readonly maxResponseBytes: number
  /** Called before each descriptor that leaves on the session. */
  readonly onSend: () => void
}

/**
 * Connects, proves both ends and starts HTTP/2.
 * @throws NsmError UNAVAILABLE, UNAUTHENTICATED (the peer's SVID is refused), INVALID_ARGUMENT (url), or the signal's reason.
 */
export async function openSession(
  url: string,
  options: SecureSessionOptions,
  signal: AbortSignal,
): Promise<SecureSession> {
  const { source, unix, maxResponseBytes, onSend } = options
  const raw = await connectRaw(url, unix, signal)
  raw.socket.on('error', () => undefined)
  try {
    const { socket, spiffeId, certificate, localSvid } = await secureClientSocket(
      raw.socket,
      source,
      anyId,
      signal,
    )
    socket.on('error', () => undefined)
    const descriptors = raw.descriptors && observed(raw.descriptors, onSend)
    const peer = { spiffeId: spiffeId.id, certificate, localSvid, descriptors }
    const authority = authorityOf(url)
    const grpc = await openClientSession(socket, { url, authority, maxResponseBytes, signal })
    return { url, peer, grpc }
  } catch (cause) {
    raw.socket.destroy()
    if (signal.aborted) throw NsmError.from(signal.reason)
    if (!(cause instanceof SpiffeError)) throw NsmError.from(cause)
    throw new NsmError(cause.code, `cannot talk to ${url}: ${cause.message}`, { cause })
  }
}

/** As grpc-go has it: a unix socket's authority is `localhost`. */
function authorityOf(url: string): string {
  const address = parseAddress(url)
  if (address.kind === 'unix') return 'localhost'
  const { host, port } = address
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function observed(channel: DescriptorChannel, onSend: () => void): DescriptorChannel {
  return {
    send(fd) {
      onSend()
      return channel.send(fd)
    },
    receive: (dev, inode, signal) => channel.receive(dev, inode, signal),
    forget: (dev, inode) => channel.forget(dev, inode),
    peerNetns: () => channel.peerNetns(),
    get peerCredentials() {
      return channel.peerCredentials
    },
  }
}
