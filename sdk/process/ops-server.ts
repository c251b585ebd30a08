import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { unlink } from 'node:fs/promises'
import { NsmError } from '../errors.ts'
import type { Checks } from './checks.ts'

/** What answers `/metrics`. */
export interface MetricsText {
  readonly contentType: string
  text(): Promise<string> | string
}

/** Answers one path of the server. */
export type Route = (req: IncomingMessage, res: ServerResponse) => void

/** Health and metrics of one process. */
export interface OpsOptions {
  /** `host:port`, `:port`, `tcp://host:port`, `unix:///path`; `off` opens nothing. Port 0 = any free one. */
  readonly listenOn: string
  readonly checks: Checks
  readonly metrics?: MetricsText
  /** More paths, exact; they replace the usual ones. */
  readonly routes?: Readonly<Record<string, Route>>
  /** Answers what no path fits; default a 404 that names the paths. */
  readonly otherwise?: Route
  /** Whether callers of this own address are served; default all are. */
  readonly accept?: (localAddress: string) => boolean
}

export interface OpsServer {
  /** Where it listens, as `http://host:port` or `unix:///path`; undefined when off. */
  readonly address: string | undefined
  close(): Promise<void>
}

/** Serves `/healthz`, `/livez` (the event loop runs), `/readyz` (all checks hold, with reasons) and `/metrics`. */
export async function opsServer(options: OpsOptions): Promise<OpsServer> {
  if (options.listenOn === 'off') return { address: undefined, close: async () => undefined }
  const routes = routesOf(options)
  const unknown: Route = (_req, res) => send(res, 404, `there is ${[...routes.keys()].join(', ')}\n`)
  const server = createServer({ requestTimeout: 10_000, maxHeaderSize: 8_192 }, (req, res) =>
    (routes.get(pathOf(req)) ?? options.otherwise ?? unknown)(req, res),
  )
  server.on('connection', (socket) => {
    if (options.accept?.(socket.localAddress ?? '') === false) socket.destroy()
  })
  server.maxConnections = 64
  server.unref()
  const address = await listen(server, options.listenOn)
  return {
    address,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
}

/** The paths that are always there, and the caller's own. */
function routesOf({ checks, metrics, routes }: OpsOptions): ReadonlyMap<string, Route> {
  const alive = reading((res) => send(res, 200, 'ok\n'))
  const ready = reading((res) => {
    const report = checks.report()
    send(res, report.ready ? 200 : 503, report.text)
  })
  return new Map<string, Route>([
    ['/healthz', alive],
    ['/livez', alive],
    ['/readyz', ready],
    ...(metrics === undefined
      ? []
      : ([['/metrics', reading((res) => void sendMetrics(res, metrics))]] as const)),
    ...Object.entries(routes ?? {}),
  ])
}

/** Path of a request's URL, still percent-encoded. */
export function pathOf(req: IncomingMessage): string {
  return (req.url ?? '/').split('?', 1)[0] ?? '/'
}

/** A path that is only read. */
export function reading(respond: (res: ServerResponse) => void): Route {
  return (req, res) => {
    if (req.method === 'GET' || req.method === 'HEAD') respond(res)
    else send(res, 405, 'only GET is answered here\n')
  }
}

async function sendMetrics(res: ServerResponse, metrics: MetricsText): Promise<void> {
  try {
    send(res, 200, await metrics.text(), metrics.contentType)
  } catch (err) {
    send(res, 500, `${String(err)}\n`)
  }
}

/** Sends a whole answer. */
export function send(
  res: ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  res.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body)
}

async function listen(server: Server, listenOn: string): Promise<string> {
  const path = /^unix:\/\/(\/.+)$/.exec(listenOn)?.[1]
  if (path !== undefined) {
    await unlink(path).catch(() => undefined)
    await bind(server, { path }, listenOn)
    return listenOn
  }
  const [, bracketed, plain, port] = /^(?:tcp:\/\/)?(?:\[([^\]]+)\]|([^:/]*)):(\d{1,5})$/.exec(listenOn) ?? []
  if (port === undefined || Number(port) > 65_535) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `address "${listenOn}" must be host:port, :port, unix:///path or off`,
    )
  }
  const host = bracketed ?? plain
  await bind(server, { port: Number(port), ...(host ? { host } : {}) }, listenOn)
  const bound = server.address()
  const boundPort = typeof bound === 'object' && bound !== null ? bound.port : port
  return `http://${bracketed === undefined ? plain || 'localhost' : `[${bracketed}]`}:${boundPort}`
}

async function bind(
  server: Server,
  where: { path: string } | { port: number; host?: string },
  name: string,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (err) =>
      reject(new NsmError('UNAVAILABLE', `cannot listen on ${name}: ${err.message}`, { cause: err })),
    )
    server.listen(where, resolve)
  })
  server.removeAllListeners('error')
  server.on('error', () => undefined)
}
