import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { listenUnix } from '@nsm/native/unix-socket.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Codec } from '@nsm/sdk/transport/methods.js'
import { serveSession, type ServedMethod, type ServerSession } from '@nsm/sdk/transport/server-session.js'

/** An RPC as the generated code describes it. */
export interface Rpc<Request, Response> {
  readonly name: string
  readonly requestType: Codec<Request>
  readonly responseType: Codec<Response>
}

/** Calls of one service by their full names. */
export type SocketMethods = ReadonlyMap<string, ServedMethod>

export interface SocketServerOptions {
  /** Of the socket file; its folder is made when it is not there. */
  readonly path: string
  readonly methods: SocketMethods
  readonly log: Logger
  readonly clock: Clock
}

const limits = {
  maxRequestBytes: 64 * 1024,
  maxResponseBytes: 64 * 1024,
  maxStreams: 64,
  bodyTimeoutMs: 10_000,
}
/** kubelet keeps one or two connections to a plugin. */
const mostSessions = 64

/** One unary method, with its full name; `signal` aborts when the caller has gone. */
export function unary<Request, Response>(
  service: { readonly fullName: string },
  rpc: Rpc<Request, Response>,
  handle: (request: Request, signal: AbortSignal) => Promise<Response>,
): readonly [name: string, method: ServedMethod] {
  const name = `/${service.fullName}/${rpc.name}`
  const answer = async (bytes: Buffer, signal: AbortSignal): Promise<Uint8Array> =>
    rpc.responseType.encode(await handle(decoded(name, rpc, bytes), signal)).finish()
  return [name, { kind: 'unary', handle: ({ signal }, bytes) => answer(bytes, signal) }]
}

function decoded<Request>(name: string, { requestType }: Rpc<Request, unknown>, bytes: Buffer): Request {
  try {
    return requestType.decode(bytes)
  } catch (cause) {
    throw new NsmError('INVALID_ARGUMENT', `request of ${name} is not readable as protobuf`, { cause })
  }
}

/**
 * Serves gRPC without TLS on a unix socket that root alone opens: kubelet proves nothing else. A stale socket file is replaced.
 * Rejects with the system's error when the path cannot be listened on.
 */
export async function serveOnSocket({
  path,
  methods,
  log,
  clock,
}: SocketServerOptions): Promise<{ close(): Promise<void> }> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  const sessions = new Set<ServerSession>()
  const options = { ...limits, methods, log, clock, peer: undefined, headers: {} }
  const listener = await listenUnix(path, { mode: 0o600, keepsDescriptors: false }, (socket) => {
    socket.on('error', (err) => log.debug({ err: err.message }, 'connection failed'))
    if (sessions.size >= mostSessions) {
      socket.destroy()
      return
    }
    socket.allowHalfOpen = false
    const session = serveSession(socket, options, () => void sessions.delete(session))
    sessions.add(session)
  })
  return {
    async close() {
      await listener.close()
      for (const session of sessions) session.destroy()
    },
  }
}
