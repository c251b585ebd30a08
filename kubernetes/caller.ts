import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { callScopes, type CallScope } from './call-scopes.ts'
import { connectionError, type Connections, type HttpCall } from './connections.ts'
import { statusError } from './status-error.ts'
import { tokenBucket, type Rate } from './token-bucket.ts'

/** One call of the API. */
export interface JsonCall {
  readonly method: HttpCall['method']
  readonly path: string
  readonly body?: unknown
  /** Default `application/json`. */
  readonly contentType?: string
  readonly signal?: AbortSignal | undefined
}

/** Calls with their deadlines, their rate and their second tries. */
export interface Caller {
  json<T>(call: JsonCall): Promise<T>
  stream(path: string, signal?: AbortSignal): Promise<Readable>
  close(reason: NsmError): void
}

export interface CallerOptions {
  readonly connections: Connections
  /** For messages. */
  readonly host: string
  readonly userAgent: string
  readonly rate: Rate
  readonly timeoutMs: number
}

const maxAnswerBytes = 64 * 1_048_576
const maxErrorBytes = 65_536
const maxTries = 10
/** When the server asks for patience and doesn't say how much. */
const patienceMs = 1_000

/** Calls through the given connections. 401 is answered with new credentials once; 429, and 5xx with Retry-After, by waiting as long as told. */
export function caller(options: CallerOptions): Caller {
  const { host, timeoutMs } = options
  // More than those would wait in vain.
  const maxWaiting = Math.ceil((options.rate.perSecond * timeoutMs) / 1000)
  const bucket = tokenBucket(options.rate, systemClock, maxWaiting)
  const scopes = callScopes(timeoutMs)

  async function accepted(call: JsonCall, scope: CallScope): Promise<IncomingMessage> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body)
    const headers = headersOf(call, options.userAgent, body)
    const sent: HttpCall = { method: call.method, path: call.path, headers, body }
    let wasUnauthorized = false
    for (let tries = 1; ; tries += 1) {
      await bucket.take(scope.signal)
      if (tries === 1) scope.begin()
      const response = await send(sent, wasUnauthorized, scope.signal)
      const status = response.statusCode ?? 0
      if (status < 300) return response
      const err = statusError(nameOf(call), status, await textOf(response, maxErrorBytes, host))
      const waitMs = patience(status, response.headers['retry-after'])
      if (status === 401 && !wasUnauthorized) wasUnauthorized = true
      // A version that isn't known comes with Retry-After, too: who asks can do better than wait.
      else if (waitMs === undefined || tries === maxTries || err.code === 'OUT_OF_RANGE') throw err
      else await waited(waitMs, scope.signal, err)
    }
  }

  /** A kept connection that the server closes at this moment says nothing about the server: once more, unless that could do a thing twice. */
  async function send(call: HttpCall, renew: boolean, signal: AbortSignal): Promise<IncomingMessage> {
    try {
      return await options.connections.send(call, renew, signal)
    } catch (err) {
      if (call.method === 'POST' || signal.aborted || !wasReset(err)) throw err
      return options.connections.send(call, renew, signal)
    }
  }

  return {
    async json<T>(call: JsonCall) {
      const scope = scopes.open(nameOf(call), call.signal)
      try {
        const response = await accepted(call, scope)
        return parsed(call, await textOf(response, maxAnswerBytes, host)) as T
      } finally {
        scope.close()
      }
    },
    async stream(path, signal) {
      const call: JsonCall = { method: 'GET', path }
      const scope = scopes.open(nameOf(call), signal)
      try {
        const response = await accepted(call, scope)
        scope.endless()
        response.once('close', () => scope.close())
        return response
      } catch (err) {
        scope.close()
        throw err
      }
    },
    close(reason) {
      scopes.abort(reason)
      options.connections.close()
    },
  }
}

function nameOf({ method, path }: JsonCall): string {
  return `${method} ${path.split('?', 1)[0]}`
}

function headersOf(
  { contentType = 'application/json' }: JsonCall,
  userAgent: string,
  body: string | undefined,
): Record<string, string> {
  const headers = { 'user-agent': userAgent, accept: 'application/json, */*' }
  if (body === undefined) return headers
  // Node gives a DELETE with a body no length by itself.
  return { ...headers, 'content-type': contentType, 'content-length': String(Buffer.byteLength(body)) }
}

/** How long the server wants the caller to wait; undefined = another try is no use. */
function patience(status: number, retryAfter: string | undefined): number | undefined {
  if (status !== 429 && (status < 500 || retryAfter === undefined)) return undefined
  const seconds = Number(retryAfter)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : patienceMs
}

/** The server's own words say more than that the time was up. */
async function waited(ms: number, signal: AbortSignal, err: NsmError): Promise<void> {
  try {
    await sleep({ clock: systemClock, signal }, ms)
  } catch (reason) {
    throw NsmError.from(reason).code === 'DEADLINE_EXCEEDED' ? err : reason
  }
}

function wasReset(err: unknown): boolean {
  const cause = err instanceof NsmError ? err.cause : undefined
  return ['ECONNRESET', 'EPIPE'].includes((cause as NodeJS.ErrnoException | undefined)?.code ?? '')
}

async function textOf(response: IncomingMessage, maxBytes: number, host: string): Promise<string> {
  const parts: string[] = []
  let size = 0
  try {
    for await (const part of response as AsyncIterable<string>) {
      size += part.length
      if (size > maxBytes)
        throw new NsmError('RESOURCE_EXHAUSTED', `an answer has more than ${maxBytes} bytes`)
      parts.push(part)
    }
  } catch (err) {
    throw connectionError(err, host)
  }
  return parts.join('')
}

function parsed(call: JsonCall, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new NsmError('UNAVAILABLE', `${nameOf(call)}: the answer is no JSON: ${String(cause)}`, { cause })
  }
}
