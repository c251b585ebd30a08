import { frame, messageReader } from '@nsm/spiffe/framing.js'
import {
  constants,
  performServerHandshake,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Duplex } from 'node:stream'
import { background, withValue, type Ctx } from '../ctx.ts'
import type { Clock } from '../clock.ts'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Peer } from '../peer.ts'
import { incomingCall, newCall, type Call } from './call.ts'
import { statusHeaders } from './status.ts'
import { parseTimeout } from './timeout.ts'

/** One served RPC, on bytes. */
export type ServedMethod =
  | { readonly kind: 'unary'; handle(ctx: Ctx, message: Buffer): Promise<Uint8Array> }
  | { readonly kind: 'stream'; handle(ctx: Ctx, message: Buffer): AsyncIterable<Uint8Array> }

export interface ServerSessionOptions {
  /** By full method, as `/networkservice.NetworkService/Request`. */
  readonly methods: ReadonlyMap<string, ServedMethod>
  /** undefined = the socket proves nobody: plain, on a path that only its caller can open. */
  readonly peer: Peer | undefined
  readonly log: Logger
  readonly clock: Clock
  /** Initial metadata of every answer. */
  readonly headers: Readonly<Record<string, string>>
  readonly maxRequestBytes: number
  readonly maxResponseBytes: number
  readonly maxStreams: number
  /** How long a request's message may take to arrive after its headers. */
  readonly bodyTimeoutMs: number
}

/** gRPC over one socket. */
export interface ServerSession {
  /** Ends streams with UNAVAILABLE, lets unary calls finish, takes no new ones. */
  close(): void
  destroy(): void
}

/** What one call needs in all its steps. */
interface ServedCall {
  readonly stream: ServerHttp2Stream
  readonly method: ServedMethod
  readonly controller: AbortController
  readonly ctx: Ctx
  readonly call: Call
  readonly options: ServerSessionOptions
  /** A unary method has answered or failed: nobody waits for its signal any more. */
  handled: boolean
}

/** One for all: it would be made for each call, and most of its price is the stack. */
const callerGone = new NsmError('CANCELLED', 'caller has gone')
const grpcType = 'application/grpc'
/** Node counts all queued answers in it; a session that only large Find answers fill is still sound. */
const sessionMemoryMb = 64
const probeEveryMs = 30_000
const probeTimeoutMs = 15_000

/** Serves HTTP/2 on `socket`; SETTINGS leave at once. `onClose` is called once, when the session is gone. */
export function serveSession(
  socket: Duplex,
  options: ServerSessionOptions,
  onClose: () => void,
): ServerSession {
  const calls = new Set<ServedCall>()
  const session = performServerHandshake(socket, {
    maxSessionMemory: sessionMemoryMb,
    settings: { maxConcurrentStreams: options.maxStreams },
  })
  session.on('error', (err: Error) => options.log.debug({ err: err.message }, 'session failed'))
  const stopProbing = probe(session, options.clock)
  session.once('close', () => {
    stopProbing()
    socket.destroy()
    onClose()
  })
  session.on('stream', (stream, headers) => {
    stream.on('error', (err: Error) => options.log.debug({ err: err.message }, 'call failed'))
    const call = accept(stream, headers, options)
    if (call === undefined) return
    calls.add(call)
    stream.once('close', () => {
      calls.delete(call)
      if (!call.handled) call.controller.abort(callerGone)
    })
    receive(call)
  })

  return {
    close() {
      const reason = new NsmError('UNAVAILABLE', 'server is stopping')
      for (const { method, controller } of calls) if (method.kind === 'stream') controller.abort(reason)
      session.close()
    },
    destroy: () => session.destroy(),
  }
}

/**
 * Ends a session that answers no PING: its peer is gone without a word, or Node has stopped reading after a protocol error,
 * and would then keep the socket even when the peer has closed it.
 */
function probe(session: ServerHttp2Session, clock: Clock): () => void {
  let disarm: () => void = () => undefined
  const wait = (): void => {
    disarm = clock.after(probeEveryMs, ask)
  }
  const ask = (): void => {
    if (session.destroyed) return
    disarm = clock.after(probeTimeoutMs, () => session.destroy())
    session.ping((err) => {
      if (err !== null || session.destroyed) return
      disarm()
      wait()
    })
  }
  wait()
  return () => disarm()
}

/** Checks a call's headers; what cannot be served is answered here. */
function accept(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  options: ServerSessionOptions,
): ServedCall | undefined {
  if (headers[':method'] !== 'POST' || !String(headers['content-type']).startsWith(grpcType)) {
    stream.respond({ ':status': 415 }, { endStream: true })
    askNoMore(stream)
    return undefined
  }
  try {
    const path = String(headers[':path'])
    const method = options.methods.get(path)
    if (method === undefined) throw new NsmError('UNIMPLEMENTED', `method ${path} is not served here`)
    const timeoutMs = parseTimeout(textOf(headers['grpc-timeout']))
    return newServedCall(stream, headers, method, { ...options, timeoutMs })
  } catch (reason) {
    refuse({ stream, options }, NsmError.from(reason))
    return undefined
  }
}

function newServedCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  method: ServedMethod,
  options: ServerSessionOptions & { readonly timeoutMs: number | undefined },
): ServedCall {
  const { clock, log, peer, timeoutMs } = options
  const controller = new AbortController()
  const call = newCall()
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(':') && value !== undefined) call.requestHeaders.set(name, textOf(value) ?? '')
  }
  const ctx: Ctx = {
    ...withValue(background({ log, clock, signal: controller.signal }), incomingCall, call),
    peer,
    deadlineMs: timeoutMs === undefined ? undefined : clock.now() + timeoutMs,
  }
  if (timeoutMs !== undefined) {
    const expired = (): void =>
      controller.abort(new NsmError('DEADLINE_EXCEEDED', "the caller's deadline has passed"))
    stream.once('close', clock.after(timeoutMs, expired))
  }
  return { stream, method, controller, ctx, call, options, handled: false }
}

/** Collects the one request message, then serves it. */
function receive(served: ServedCall): void {
  const { stream, options } = served
  const reader = messageReader(options.maxRequestBytes)
  const messages: Buffer[] = []
  const late = (): void =>
    refuse(served, new NsmError('DEADLINE_EXCEEDED', `request did not arrive in ${options.bodyTimeoutMs} ms`))
  const disarm = options.clock.after(options.bodyTimeoutMs, late)
  stream.once('close', disarm)
  stream.on('data', (chunk: Buffer) => {
    try {
      messages.push(...reader.push(chunk))
      if (messages.length > 1) throw new NsmError('INTERNAL', 'request has more than one message')
    } catch (reason) {
      stream.removeAllListeners('data').removeAllListeners('end')
      refuse(served, NsmError.from(reason))
    }
  })
  stream.once('end', () => {
    disarm()
    const [message] = messages
    if (stream.destroyed || stream.aborted) return
    if (message === undefined || reader.partial) {
      refuse(served, new NsmError('INTERNAL', 'request ended before its message was whole'))
    } else {
      void serve(served, message)
    }
  })
}

async function serve(served: ServedCall, message: Buffer): Promise<void> {
  const { method, ctx } = served
  try {
    if (method.kind === 'unary') sendWhole(served, await handled(served, method.handle(ctx, message)))
    else await sendStream(served, method.handle(ctx, message))
  } catch (reason) {
    refuse(served, NsmError.from(reason))
  }
}

async function handled<T>(served: ServedCall, answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } finally {
    served.handled = true
  }
}

function sendWhole(served: ServedCall, answer: Uint8Array): void {
  const { stream } = served
  if (isGone(stream)) return
  checkSize(answer, served)
  open(served)
  stream.end(frame(answer))
}

/** Writes one message at a time: the next is asked for when the peer has taken this one. */
async function sendStream(served: ServedCall, answers: AsyncIterable<Uint8Array>): Promise<void> {
  const { stream, ctx } = served
  open(served)
  const iterator = answers[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await orAbort(iterator.next(), ctx.signal)
      if (next.done === true) break
      checkSize(next.value, served)
      if (!stream.write(frame(next.value))) await orAbort(drained(stream), ctx.signal)
    }
    stream.end()
  } finally {
    const ended = iterator.return?.()
    ended?.catch((err: unknown) => ctx.log.debug({ err: String(err) }, 'stream ended with a failure'))
  }
}

function open({ stream, options, call }: ServedCall): void {
  const headers = { ...options.headers, ...Object.fromEntries(call.responseHeaders) }
  stream.respond({ ':status': 200, 'content-type': grpcType, ...headers }, { waitForTrailers: true })
  stream.once('wantTrailers', () => sendTrailers(stream, { 'grpc-status': '0' }))
}

/** Answers with a status alone, or ends an answer that has begun with it. Never throws. */
function refuse({ stream, options }: Pick<ServedCall, 'stream' | 'options'>, err: NsmError): void {
  if (isGone(stream)) return
  if (stream.headersSent) {
    stream.removeAllListeners('wantTrailers')
    stream.once('wantTrailers', () => sendTrailers(stream, statusHeaders(err)))
    stream.end()
    return
  }
  try {
    stream.respond(
      { ':status': 200, 'content-type': grpcType, ...options.headers, ...statusHeaders(err) },
      { endStream: true },
    )
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR)
    return
  }
  askNoMore(stream)
}

/** Tells the peer that the rest of its request is not wanted; later, since Node 22 drops an answer that a reset follows at once. */
function askNoMore(stream: ServerHttp2Stream): void {
  setImmediate(() => {
    if (!isGone(stream) && !stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR)
  })
}

function sendTrailers(stream: ServerHttp2Stream, trailers: Record<string, string>): void {
  if (!isGone(stream)) stream.sendTrailers(trailers)
}

function checkSize(answer: Uint8Array, { options }: ServedCall): void {
  if (answer.length <= options.maxResponseBytes) return
  const text = `answer has ${answer.length} bytes, at most ${options.maxResponseBytes} are sent`
  throw new NsmError('RESOURCE_EXHAUSTED', text)
}

function drained(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve) => stream.once('drain', resolve))
}

/** Rejects with the signal's reason once it aborts, whatever becomes of `work`. */
function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

function isGone(stream: ServerHttp2Stream): boolean {
  return stream.destroyed || stream.closed || stream.aborted
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}
