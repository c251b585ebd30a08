import { connect as connectTcp, type Socket } from 'node:net'
import { NsmError } from '../errors.ts'
import { tcpKeepAliveMs, type RawConnection } from './listen.ts'
import type { UnixTransport } from './unix.ts'
import { parseAddress } from './url.ts'

/** Connects below TLS. @throws NsmError INVALID_ARGUMENT, UNAVAILABLE naming the URL, or the signal's reason. */
export async function connectRaw(
  url: string,
  unix: UnixTransport | undefined,
  signal: AbortSignal,
): Promise<RawConnection> {
  const address = parseAddress(url)
  try {
    signal.throwIfAborted()
    if (address.kind === 'tcp') {
      return { socket: await tcpSocket(address.host, address.port, signal), descriptors: undefined }
    }
    if (unix === undefined) {
      throw new NsmError('INVALID_ARGUMENT', `cannot dial ${url}: this process has no unix transport`)
    }
    const socket = await unix.connectUnix(address.path, signal)
    // A peer that has ended sends nothing more: nobody would notice that it is gone.
    socket.allowHalfOpen = false
    return { socket, descriptors: socket }
  } catch (cause) {
    if (signal.aborted) throw NsmError.from(signal.reason)
    if (cause instanceof NsmError) throw cause
    const text = cause instanceof Error ? cause.message : String(cause)
    throw new NsmError('UNAVAILABLE', `cannot connect to ${url}: ${text}`, { cause })
  }
}

function tcpSocket(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({
      host: host === '' ? 'localhost' : host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: tcpKeepAliveMs,
    })
    const settle = (done: () => void): void => {
      signal.removeEventListener('abort', abort)
      socket.off('error', failed)
      done()
    }
    const abort = (): void =>
      settle(() => {
        socket.on('error', () => undefined).destroy()
        reject(NsmError.from(signal.reason))
      })
    const failed = (err: Error): void => settle(() => reject(err))
    signal.addEventListener('abort', abort, { once: true })
    socket.once('error', failed)
    socket.once('connect', () => settle(() => resolve(socket)))
  })
}
