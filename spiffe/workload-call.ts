import {
  connect as connectHttp2,
  constants,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
} from 'node:http2'
import { connect, type NetConnectOpts } from 'node:net'
import { reasonOf, SpiffeError, type SpiffeCode } from './errors.ts'
import { frame, messageReader } from './framing.ts'

/** One server-streaming call of the Workload API. */
export interface WorkloadCall {
  /** gRPC target: `unix:/path`, `ipv4:1.2.3.4:80` or `ipv6:[::1]:80`. */
  readonly target: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly message: Uint8Array
  readonly maxMessageBytes: number
  readonly signal: AbortSignal
  readonly onMessage: (bytes: Buffer) => void
}

/**
 * Makes the call over a connection of its own, to its end; answers why it ended, undefined = the server was done.
 * Written on HTTP/2 itself: a gRPC library would be the largest part of a small workload.
 */
export async function serverStream(call: WorkloadCall): Promise<SpiffeError | undefined> {
  const session = connectHttp2('http://localhost', {
    createConnection: () => connect(addressOf(call.target)),
    settings: { enablePush: false, initialWindowSize: 1_048_576 },
  })
  const cancel = (): void => session.destroy()
  call.signal.addEventListener('abort', cancel, { once: true })
  try {
    return await new Promise((resolve) => {
      session.on('error', (err) => resolve(unavailable(`cannot reach ${call.target}: ${err.message}`, err)))
      session.on('close', () => resolve(unavailable(`connection to ${call.target} closed`)))
      const stream = session.request({
        ':method': 'POST',
        ':path': call.path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...call.headers,
      })
      follow(stream, call, resolve)
    })
  } finally {
    call.signal.removeEventListener('abort', cancel)
    session.destroy()
  }
}

function follow(
  stream: ClientHttp2Stream,
  call: WorkloadCall,
  resolve: (why: SpiffeError | undefined) => void,
): void {
  const take = messageTaker(call.maxMessageBytes, call.onMessage)
  let why: SpiffeError | undefined = unavailable('the stream ended without a status')
  stream.on('response', (headers) => {
    if (headers[':status'] !== 200) why = unavailable(`HTTP status ${headers[':status']}`)
    else if (headers['grpc-status'] !== undefined) why = statusOf(headers)
  })
  stream.on('trailers', (trailers: IncomingHttpHeaders) => {
    if (trailers['grpc-status'] !== undefined) why = statusOf(trailers)
  })
  stream.on('data', (chunk: Buffer) => {
    const fault = take(chunk)
    if (fault === undefined) return
    why = fault
    stream.close(constants.NGHTTP2_CANCEL)
  })
  stream.on('error', (err) => resolve(unavailable(err.message, err)))
  stream.on('close', () => resolve(why))
  stream.end(frame(call.message))
}

function addressOf(target: string): NetConnectOpts {
  const [, path] = /^unix:(.*)$/s.exec(target) ?? []
  if (path !== undefined) return { path }
  const [, host = '', port = '0'] = /^ipv[46]:\[?([^\]]*?)\]?:(\d+)$/.exec(target) ?? []
  return { host, port: Number(port) }
}

/** Takes the messages out of a body; answers what is wrong with it. */
function messageTaker(
  maxBytes: number,
  onMessage: (bytes: Buffer) => void,
): (chunk: Buffer) => SpiffeError | undefined {
  const reader = messageReader(maxBytes)
  return (chunk) => {
    let messages: Buffer[]
    try {
      messages = reader.push(chunk)
    } catch (err) {
      const isTooLong = err instanceof SpiffeError && err.code === 'RESOURCE_EXHAUSTED'
      return isTooLong
        ? new SpiffeError(err.code, `workload api: ${err.message}`)
        : unavailable(reasonOf(err), err)
    }
    for (const message of messages) onMessage(message)
    return undefined
  }
}

const codes = new Map<string, SpiffeCode>([
  ['1', 'CANCELLED'],
  ['3', 'INVALID_ARGUMENT'],
  ['4', 'DEADLINE_EXCEEDED'],
  ['5', 'NOT_FOUND'],
  ['7', 'PERMISSION_DENIED'],
  ['8', 'RESOURCE_EXHAUSTED'],
  ['9', 'FAILED_PRECONDITION'],
  ['16', 'UNAUTHENTICATED'],
])

function statusOf(headers: IncomingHttpHeaders): SpiffeError | undefined {
  const status = String(headers['grpc-status'])
  if (status === '0') return undefined
  const text = decoded(String(headers['grpc-message'] ?? `status ${status}`))
  return new SpiffeError(codes.get(status) ?? 'UNAVAILABLE', `workload api: ${text}`)
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function unavailable(text: string, cause?: unknown): SpiffeError {
  return new SpiffeError('UNAVAILABLE', `workload api: ${text}`, { cause })
}
