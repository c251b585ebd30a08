import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Access, Credentials } from './access.ts'

/** One HTTP call. */
export interface HttpCall {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With its query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
}

/** Connections to one server, which are kept for the next call. */
export interface Connections {
  /**
   * Sends a call; the answer, of whatever status, comes without its body. The signal ends that, too.
   * Rejects with UNAVAILABLE when there is no connection, with the signal's reason when it aborts.
   */
  send(call: HttpCall, renewCredentials: boolean, signal: AbortSignal): Promise<IncomingMessage>
  close(): void
}

/** The server drops connections that are idle for 90 s: drop them before, so that no call meets a closing one. */
const idleMs = 30_000
/** When the kernel asks a silent server whether it still lives; it gives up ten seconds later. */
const keepAliveMs = 15_000

type Agent = HttpAgent | HttpsAgent

/** HTTP/1.1: a watch that is stuck holds up nothing else. */
export function connections(access: Access): Connections {
  const isPlain = access.server.protocol === 'http:'
  const send = isPlain ? httpRequest : httpsRequest
  let pool: { readonly agent: Agent; readonly secret: string } | undefined

  /** The same connections until the credentials change: those already open stay with the old ones. */
  function agentFor({ tls, agent }: Credentials): Agent {
    if (agent !== undefined) return agent
    const secret = JSON.stringify(tls)
    if (pool?.secret === secret) return pool.agent
    const options = { keepAlive: true, timeout: idleMs, maxFreeSockets: 4 }
    pool = { agent: isPlain ? new HttpAgent(options) : new HttpsAgent({ ...options, ...tls }), secret }
    return pool.agent
  }

  return {
    async send({ method, path, headers, body }, renewCredentials, signal) {
      const credentials = await access.credentials(renewCredentials)
      if (signal.aborted) throw NsmError.from(signal.reason)
      const { hostname, port, pathname } = access.server
      const request = send({
        method,
        host: hostname.replace(/^\[|\]$/g, ''),
        port: port === '' ? (isPlain ? 80 : 443) : port,
        path: `${pathname.replace(/\/$/, '')}${path}`,
        headers: { ...headers, ...credentials.headers },
        agent: agentFor(credentials),
      })
      request.end(body)
      return answer(request, access.server.host, signal)
    },
    close: () => pool?.agent.destroy(),
  }
}

async function answer(request: ClientRequest, host: string, signal: AbortSignal): Promise<IncomingMessage> {
  let received: IncomingMessage | undefined
  // Destroying the request of an answer that has begun would leave its reader with "aborted".
  const abort = (): void => void (received ?? request).destroy(NsmError.from(signal.reason))
  signal.addEventListener('abort', abort, { once: true })
  request.once('close', () => signal.removeEventListener('abort', abort))
  request.once('socket', (socket) => void socket.setKeepAlive(true, keepAliveMs))
  return new Promise((resolve, reject) => {
    request.once('response', (response) => {
      response.setEncoding('utf8')
      received = response
      resolve(response)
    })
    // Stays for later errors, too: whoever reads the body sees them there.
    request.on('error', (err) => reject(connectionError(err, host)))
  })
}

/** An error of a connection as UNAVAILABLE; one of ours stays. */
export function connectionError(err: unknown, host: string): NsmError {
  if (err instanceof NsmError) return err
  const sentence = err instanceof Error ? sentenceOf(err) : String(err)
  return new NsmError('UNAVAILABLE', `no connection to the API server ${host}: ${sentence}`, { cause: err })
}

/** A failure to reach any of several addresses says nothing itself. */
function sentenceOf(err: Error): string {
  const [first] = err instanceof AggregateError ? (err.errors as unknown[]) : []
  return first instanceof Error ? first.message : err.message
}
