import { createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { DescriptorChannel } from '../peer.ts'
import type { UnixTransport } from './unix.ts'
import { parseAddress } from './url.ts'

/** A connection before TLS. */
export interface RawConnection {
  readonly socket: Duplex
  /** Absent on TCP. */
  readonly descriptors: DescriptorChannel | undefined
}

export interface Listener {
  /** With the port that was really taken. */
  readonly url: string
  close(): Promise<void>
}

export interface ListenOptions {
  readonly unix?: UnixTransport | undefined
  readonly log: Logger
  onConnection(connection: RawConnection): void
}

/** Everybody may connect to a unix socket: who may be served, TLS decides. */
const socketMode = 0o777
const backlog = 511
/** A dead node is noticed within about twice this. */
export const tcpKeepAliveMs = 10_000

/** Listens on `unix:///path`, `tcp://host:port` or `tcp://:port`. @throws NsmError INVALID_ARGUMENT, UNAVAILABLE. */
export async function listen(url: string, options: ListenOptions): Promise<Listener> {
  const address = parseAddress(url)
  try {
    if (address.kind === 'unix') return await listenOnUnix(url, address.path, options)
    return await listenOnTcp(address.host, address.port, options)
  } catch (cause) {
    if (cause instanceof NsmError) throw cause
    throw new NsmError('UNAVAILABLE', `cannot listen on ${url}: ${messageOf(cause)}`, { cause })
  }
}

async function listenOnUnix(url: string, path: string, options: ListenOptions): Promise<Listener> {
  const { unix } = options
  if (unix === undefined) {
    throw new NsmError('INVALID_ARGUMENT', `cannot listen on ${url}: this process has no unix transport`)
  }
  const listener = await unix.listenUnix(path, { mode: socketMode, backlog }, (socket) => {
    socket.allowHalfOpen = false
    options.onConnection({ socket, descriptors: socket })
  })
  return { url, close: () => listener.close() }
}

async function listenOnTcp(host: string, port: number, options: ListenOptions): Promise<Listener> {
  const keepAlive = { noDelay: true, keepAlive: true, keepAliveInitialDelay: tcpKeepAliveMs }
  const server = createServer(keepAlive, (socket: Socket) =>
    options.onConnection({ socket, descriptors: undefined }),
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, backlog, ...(host === '' ? {} : { host }) }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  server.on('error', (err) => options.log.warn({ err: err.message }, 'listener failed'))
  return { url: urlOf(server, host), close: () => closed(server) }
}

function urlOf(server: Server, host: string): string {
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return `tcp://${host.includes(':') ? `[${host}]` : host}:${port}`
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason)
}
