import type { IncomingHttpHeaders } from 'node:http2'
import { timeLeft, valueOf, type Ctx } from '../ctx.ts'
import { NsmError, type Code } from '../errors.ts'
import type { Token, TokenGenerator } from '../tokens.ts'
import { outgoingCall, tokenExpiresHeader, tokenHeader } from './call.ts'
import type { OutgoingRpc } from './client-session.ts'
import type { Codec, Method } from './methods.ts'
import type { Caller } from './remote-services.ts'
import type { SecureSession } from './session.ts'

/** Sees how the calls on a session go. */
export interface CallObserver {
  onHeaders(headers: IncomingHttpHeaders): void
  /** A unary call failed; `answered`: headers came, or the caller gave up before its time, so nothing is wrong with the session. */
  onFailure(answered: boolean): void
}

/** How a call ends that the peer never looked at. */
const mute: ReadonlySet<Code> = new Set(['DEADLINE_EXCEEDED', 'UNAVAILABLE'])

/** Calls on `session`. Without `tokens`, calls carry none (health, IPAM; wire contract §3.3). */
export function callerOf(
  session: SecureSession,
  tokens: TokenGenerator | undefined,
  observer: CallObserver,
): Caller {
  const { peer, grpc } = session

  const rpcOf = (ctx: Ctx, path: string, message: Uint8Array): OutgoingRpc => {
    const call = valueOf(ctx, outgoingCall)
    return {
      path,
      message,
      headers:
        call === undefined
          ? tokenHeaders(session, tokens)
          : { ...Object.fromEntries(call.requestHeaders), ...tokenHeaders(session, tokens) },
      signal: ctx.signal,
      timeoutMs: budgetOf(ctx),
      onHeaders(headers) {
        observer.onHeaders(headers)
        if (call === undefined) return
        call.answeredBy = peer
        for (const [name, value] of Object.entries(headers)) {
          if (!name.startsWith(':') && value !== undefined) call.responseHeaders.set(name, String(value))
        }
      },
    }
  }

  return {
    async unary(ctx, method, request) {
      const rpc = rpcOf(ctx, method.path, method.request.encode(request).finish())
      let answered = false
      const onHeaders = (headers: IncomingHttpHeaders): void => {
        answered = true
        rpc.onHeaders(headers)
      }
      try {
        const bytes = await grpc.unary({ ...rpc, onHeaders })
        checkSize(method.path, bytes, method.maxResponseBytes)
        return decoded(method, bytes)
      } catch (err) {
        observer.onFailure(answered || !mute.has(NsmError.from(err).code))
        throw err
      }
    },
    async *stream(ctx, method, request) {
      const rpc = rpcOf(ctx, method.path, method.request.encode(request).finish())
      for await (const bytes of grpc.stream(rpc)) yield decoded(method, bytes)
    },
  }
}

/** The headers of a token that is given again. */
const headersOf = new WeakMap<Token, Readonly<Record<string, string>>>()

/** Asked for per call, just before HEADERS: both end with the session's SVIDs. */
function tokenHeaders(
  { peer }: SecureSession,
  tokens: TokenGenerator | undefined,
): Readonly<Record<string, string>> {
  if (tokens === undefined) return {}
  const token = tokens(peer)
  const known = headersOf.get(token)
  if (known !== undefined) return known
  // RFC 3339 with nanoseconds.
  const expires = token.expires.toISOString().replace('Z', '000000Z')
  const headers = { [tokenHeader]: token.token, [tokenExpiresHeader]: expires }
  headersOf.set(token, headers)
  return headers
}

function budgetOf(ctx: Ctx): number | undefined {
  const left = timeLeft(ctx)
  if (left === 0) throw new NsmError('DEADLINE_EXCEEDED', 'no time is left for the call')
  return left
}

function checkSize(path: string, bytes: Buffer, max = Infinity): void {
  if (bytes.length <= max) return
  const text = `answer of ${path} has ${bytes.length} bytes, at most ${max} are taken`
  throw new NsmError('RESOURCE_EXHAUSTED', text)
}

function decoded<Response>(
  method: Pick<Method<never, Response>, 'path'> & { response: Codec<Response> },
  bytes: Buffer,
): Response {
  try {
    return method.response.decode(bytes)
  } catch (cause) {
    throw new NsmError('INTERNAL', `answer of ${method.path} is not readable as protobuf`, { cause })
  }
}
