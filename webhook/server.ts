import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express'
import { createServer, type Server } from 'node:https'
import type { ServingCertificate } from './certificate.ts'
import type { InjectionSettings } from './inject.ts'
import type { DecisionListener } from './decision-events.ts'
import { objectOf, textOf } from './json.ts'
import type { Namespaces } from './namespaces.ts'
import { answerReview, failure, namespaceToKnow, type Decision } from './review.ts'

/** Everything that the HTTPS server needs. */
export interface WebhookServerOptions {
  /** `host:port` or `:port`; port 0 = any free one. */
  readonly listenOn: string
  readonly certificate: ServingCertificate
  readonly settings: InjectionSettings
  readonly namespaces: Namespaces
  readonly log: Logger
  /** Told of each answer and of the time it took; undefined = there was no review to answer. */
  readonly admitted: (decision: Decision, seconds: number | undefined) => void
  /** Told of each decision with the review. */
  readonly decided?: DecisionListener
  /** Why reviews should go elsewhere; undefined = ready. */
  readonly fault?: () => string | undefined
}

export interface WebhookServer {
  readonly port: number
  /** Lets running answers end, until the signal aborts. */
  close(signal: AbortSignal): Promise<void>
}

const maxBodyBytes = 3 * 1_048_576
/** Longer than API servers keep connections that nothing goes over (90 s): they never send into one that we just close. */
const keepAliveMs = 120_000

/** Serves `POST /mutate` and `GET /ready` over HTTPS. */
export async function webhookServer(options: WebhookServerOptions): Promise<WebhookServer> {
  const { cert, key } = options.certificate.current
  const server = createServer(
    {
      cert,
      key,
      minVersion: 'TLSv1.2',
      handshakeTimeout: 5_000,
      requestTimeout: 10_000,
      keepAliveTimeout: keepAliveMs,
      maxHeaderSize: 16_384,
    },
    application(options),
  )
  server.maxConnections = 1_000
  server.on('tlsClientError', (err) => options.log.debug({ err: err.message }, 'TLS handshake failed'))
  options.certificate.onChange((pair) => server.setSecureContext({ ...pair, minVersion: 'TLSv1.2' }))
  const port = await listen(server, options.listenOn)
  return {
    port,
    close: async (signal) => {
      const cut = (): void => server.closeAllConnections()
      signal.addEventListener('abort', cut, { once: true })
      server.closeIdleConnections()
      await new Promise<void>((done) => server.close(() => done()))
      signal.removeEventListener('abort', cut)
    },
  }
}

function application(options: WebhookServerOptions): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.get('/ready', (_req, res) => {
    const fault = options.fault?.()
    res.status(fault === undefined ? 200 : 503)
    res.type('text').send(fault === undefined ? 'ok\n' : `${fault}\n`)
  })
  app.post('/mutate', express.raw({ limit: maxBodyBytes, type: () => true }), mutate(options))
  app.use((_req, res) => void res.status(404).json({ message: 'there is POST /mutate and GET /ready' }))
  app.use(refuse(options))
  return app
}

function mutate(options: WebhookServerOptions): RequestHandler {
  const { settings, namespaces, log, admitted, decided, fault } = options
  return async (req, res) => {
    const began = performance.now()
    const review = parsed(req.body)
    const name = namespaceToKnow(review)
    if (name !== undefined && namespaces.isComplete && namespaces.get(name) === undefined)
      await namespaces.known(name)
    const { status, body, decision } = answerReview(review, settings, namespaces)
    // Whoever asks goes to another replica next time.
    if (fault?.() !== undefined) res.set('connection', 'close')
    res.status(status).json(body)
    const ms = performance.now() - began
    admitted(decision, ms / 1_000)
    decided?.(decision, review)
    const { result, reason, message } = decision
    log.info({ ...identityOf(review), result, reason, message, ms: Math.round(ms * 100) / 100 }, 'admission')
  }
}

/**
 * The body as a whole: a text that is put together from chunks takes the parser half as long again.
 * @throws an error with `status` 400
 */
function parsed(body: unknown): unknown {
  try {
    return JSON.parse(String(body))
  } catch (err) {
    throw Object.assign(new SyntaxError('no JSON', { cause: err }), { status: 400 })
  }
}

/** What names the pod in a log line. */
function identityOf(review: unknown): Record<string, unknown> {
  const request = objectOf(objectOf(review)?.['request'])
  const metadata = objectOf(objectOf(request?.['object'])?.['metadata'])
  const pod = textOf(request?.['name']) || textOf(metadata?.['name']) || textOf(metadata?.['generateName'])
  return { namespace: textOf(request?.['namespace']), pod, dry_run: request?.['dryRun'] === true }
}

/** Bodies that are too large or no JSON, and faults of our own: always an answer. */
function refuse({ log, admitted }: WebhookServerOptions): ErrorRequestHandler {
  return (err: unknown, _req, res, next) => {
    if (res.headersSent) return next(err)
    const status = Number(objectOf(err)?.['status'] ?? 500)
    const decision = failureOf(status)
    const { result, reason, message } = decision
    admitted(decision, undefined)
    if (status >= 500) log.error({ result, reason, err }, 'admission failed')
    else log.warn({ result, reason, message, err: String(err) }, 'admission failed')
    return void res.status(status).json({ message })
  }
}

function failureOf(status: number): Decision {
  if (status === 413) return failure('too_large', `body must not be larger than ${maxBodyBytes} bytes`)
  if (status < 500) return failure('malformed_body', 'body must be a JSON object')
  return failure('internal', 'internal error')
}

async function listen(server: Server, listenOn: string): Promise<number> {
  const [, bracketed, plain, port] = /^(?:tcp:\/\/)?(?:\[([^\]]+)\]|([^:/]*)):(\d{1,5})$/.exec(listenOn) ?? []
  if (port === undefined || Number(port) > 65_535) {
    throw new NsmError('INVALID_ARGUMENT', `NSM_LISTEN_ON "${listenOn}" must be host:port or :port`)
  }
  const host = bracketed ?? plain
  await new Promise<void>((resolve, reject) => {
    server.once('error', (err) =>
      reject(new NsmError('UNAVAILABLE', `cannot listen on ${listenOn}: ${err.message}`, { cause: err })),
    )
    server.listen({ port: Number(port), ...(host ? { host } : {}) }, resolve)
  })
  server.removeAllListeners('error')
  server.on('error', () => undefined)
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : Number(port)
}
