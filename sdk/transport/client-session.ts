import { SpiffeError } from '@nsm/spiffe/errors.js'
import { frame, messageReader } from '@nsm/spiffe/framing.js'
import { setMaxListeners } from 'node:events'
import {
  connect,
  constants,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
} from 'node:http2'
import type { Duplex } from 'node:stream'
import { NsmError } from '../errors.ts'
import { httpStatusError, resetError, statusOf } from './status.ts'
import { formatTimeout } from './timeout.ts'

/** One RPC to be made, on bytes. */
export interface OutgoingRpc {
  /** Full method, as `/networkservice.NetworkService/Request`. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly message: Uint8Array
  readonly signal: AbortSignal
  /** Time that the caller has left; undefined = no limit. */
  readonly timeoutMs: number | undefined
  /** Called at most once, with the initial metadata. */
  onHeaders(headers: IncomingHttpHeaders): void
}

/** gRPC over one socket: never reconnects, so that a session has one peer for all its life. */
export interface ClientSession {
  /** Aborts with an NsmError when the session has ended, for any reason. */
  readonly closed: AbortSignal
  /** False as soon as no new call can be made: ended, ending, or told to by the peer (GOAWAY). */
  readonly usable: boolean
  unary(rpc: OutgoingRpc): Promise<Buffer>
  stream(rpc: OutgoingRpc): AsyncIterable<Buffer>
  /** Takes no new calls and ends with the last one. */
  close(): void
  destroy(reason: NsmError): void
}

export interface ClientSessionOptions {
  /** For messages. */
  readonly url: string
  readonly authority: string
  readonly maxResponseBytes: number
  readonly signal: AbortSignal
}

/** Most that a peer may owe us; a Find answer fits many times. */
const sessionMemoryMb = 64

/**
 * Speaks HTTP/2 on `socket`, which it owns from now on; resolves with the peer's first SETTINGS.
 * Rejects with UNAVAILABLE when the peer ends it before, or with the signal's reason.
 */
export async function openClientSession(
  socket: Duplex,
  options: ClientSessionOptions,
): Promise<ClientSession> {
  const { url, signal } = options
  const ended = new AbortController()
  const session = connect('https://localhost', {
    createConnection: () => socket,
    maxSessionMemory: sessionMemoryMb,
    settings: { enablePush: false },
  })
  let failure: NsmError | undefined
  const fail = (reason: NsmError): void => {
    failure ??= reason
    session.destroy()
  }
  session.on('error', (err: Error) => {
    failure ??= new NsmError('UNAVAILABLE', `session to ${url} failed: ${err.message}`, { cause: err })
  })
  session.once('close', () => {
    socket.destroy()
    ended.abort(failure ?? new NsmError('UNAVAILABLE', `session to ${url} has ended`))
  })
  const state = { goneAway: false }
  session.once('goaway', () => (state.goneAway = true))

  await new Promise<void>((resolve, reject) => {
    const give = (): void => fail(NsmError.from(signal.reason))
    signal.addEventListener('abort', give, { once: true })
    ended.signal.addEventListener('abort', () => reject(ended.signal.reason as NsmError), { once: true })
    session.once('remoteSettings', () => {
      signal.removeEventListener('abort', give)
      resolve()
    })
    if (signal.aborted) give()
  })

  return {
    closed: ended.signal,
    get usable() {
      return !session.closed && !session.destroyed && !state.goneAway
    },
    unary: async (rpc) => unary(begin(session, rpc, options, ended.signal), options),
    stream: (rpc) => messages(session, rpc, options, ended.signal),
    close: () => session.close(),
    destroy: fail,
  }
}

/** A call under way, with what it has told so far. */
interface Running {
  readonly url: string
  readonly stream: ClientHttp2Stream
  readonly closed: AbortSignal
  /** Headers of the answer, and trailers once they are there. */
  headers: IncomingHttpHeaders | undefined
  trailers: IncomingHttpHeaders | undefined
  /** Why this side gave up. */
  failure: NsmError | undefined
}

function begin(
  session: ClientHttp2Session,
  rpc: OutgoingRpc,
  options: ClientSessionOptions,
  closed: AbortSignal,
): Running {
  if (closed.aborted) throw NsmError.from(closed.reason)
  if (rpc.signal.aborted) throw NsmError.from(rpc.signal.reason)
  const stream = requestOn(session, rpc, options)
  const known = { headers: undefined, trailers: undefined, failure: undefined }
  const running: Running = { url: options.url, stream, closed, ...known }
  // 'close' follows and says what it meant.
  stream.on('error', () => undefined)
  stream.once('response', (headers) => {
    running.headers = headers
    rpc.onHeaders(headers)
  })
  stream.once('trailers', (trailers) => (running.trailers = trailers))
  const abort = (): void => giveUp(running, NsmError.from(rpc.signal.reason))
  // Any number of calls may share one signal, as that of a process' end.
  setMaxListeners(0, rpc.signal)
  rpc.signal.addEventListener('abort', abort, { once: true })
  stream.once('close', () => rpc.signal.removeEventListener('abort', abort))
  stream.end(frame(rpc.message))
  return running
}

function requestOn(
  session: ClientHttp2Session,
  rpc: OutgoingRpc,
  options: ClientSessionOptions,
): ClientHttp2Stream {
  const { timeoutMs } = rpc
  try {
    return session.request(
      {
        ':method': 'POST',
        ':path': rpc.path,
        ':scheme': 'https',
        ':authority': options.authority,
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': 'nsm-ts',
        ...(timeoutMs === undefined ? {} : { 'grpc-timeout': formatTimeout(timeoutMs) }),
        ...rpc.headers,
      },
      { endStream: false },
    )
  } catch (cause) {
    const text = `session to ${options.url} takes no call: ${String(cause)}`
    throw new NsmError('UNAVAILABLE', text, { cause })
  }
}

function unary(running: Running, options: ClientSessionOptions): Promise<Buffer> {
  const { stream } = running
  const reader = messageReader(options.maxResponseBytes)
  const answers: Buffer[] = []
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      const failure = outcome(running) ?? countError(answers.length, reader.partial)
      if (failure !== undefined) reject(failure)
      else resolve(answers[0] as Buffer)
    }
    stream.on('data', (chunk: Buffer) => {
      try {
        answers.push(...reader.push(chunk))
      } catch (reason) {
        giveUp(running, NsmError.from(reason))
      }
    })
    stream.once('end', () => {
      if (running.trailers !== undefined || isWhole(running.headers)) settle()
    })
    stream.once('close', settle)
  })
}

async function* messages(
  session: ClientHttp2Session,
  rpc: OutgoingRpc,
  options: ClientSessionOptions,
  closed: AbortSignal,
): AsyncGenerator<Buffer> {
  const running = begin(session, rpc, options, closed)
  const { stream } = running
  const reader = messageReader(options.maxResponseBytes)
  try {
    for await (const chunk of stream) yield* reader.push(chunk as Buffer)
  } catch (reason) {
    // A stream that was cut short throws; what ended it is known better below.
    if (reason instanceof SpiffeError) giveUp(running, NsmError.from(reason))
  } finally {
    // A reset of a stream that has ended by itself makes Node's HTTP/2 abort the process when the session goes.
    if (!stream.closed && !stream.readableEnded) stream.close(constants.NGHTTP2_CANCEL)
  }
  if (!stream.destroyed) await new Promise((resolve) => stream.once('close', resolve))
  const failure = outcome(running)
  if (failure !== undefined) throw failure
}

function giveUp(running: Running, reason: NsmError): void {
  running.failure ??= reason
  running.stream.close(constants.NGHTTP2_CANCEL)
  // Node waits for the peer before 'close'; a caller that gave up does not.
  running.stream.destroy()
}

/** How a call that is over went; undefined = well. */
function outcome(running: Running): NsmError | undefined {
  const { url, failure, trailers, headers, stream, closed } = running
  if (failure !== undefined) return failure
  if (trailers !== undefined && isWhole(trailers)) return statusOf(trailers)
  if (headers !== undefined && isWhole(headers)) return statusOf(headers)
  if (closed.aborted || isEnding(stream)) {
    const text = `session to ${url} ended before the answer came`
    return new NsmError('UNAVAILABLE', text, { cause: closed.reason })
  }
  const status = Number(headers?.[':status'] ?? 200)
  return status === 200 ? resetError(stream.rstCode) : httpStatusError(status)
}

/** Node cancels all streams of a socket that has closed before it destroys the session. */
function isEnding({ session }: ClientHttp2Stream): boolean {
  return session === undefined || session.closed || session.destroyed
}

function isWhole(headers: IncomingHttpHeaders | undefined): boolean {
  return headers?.['grpc-status'] !== undefined
}

function countError(count: number, partial: boolean): NsmError | undefined {
  if (count === 1 && !partial) return undefined
  return new NsmError('INTERNAL', `answer has ${count} whole messages, not one`)
}
