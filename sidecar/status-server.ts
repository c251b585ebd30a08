import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { checks, type Checks } from '@nsm/sdk/process/checks.js'
import {
  opsServer,
  pathOf,
  reading,
  send,
  type MetricsText,
  type OpsServer,
  type Route,
} from '@nsm/sdk/process/ops-server.js'
import { eventStream, type EventStream } from './event-stream.ts'
import { carriesPackets } from './status.ts'
import type { StatusBoard } from './status-board.ts'

const jsonType = 'application/json; charset=utf-8'

/**
 * Serves the status of the pod's connections, as `openapi.yaml` describes; `required` are the ids of those that the pod's start
 * waits for, undefined = all. Callers who come over one of the connections are not served.
 */
export async function statusServer(
  listenOn: string,
  board: StatusBoard,
  metrics: MetricsText,
  required?: ReadonlySet<string>,
): Promise<OpsServer> {
  const events = eventStream(board)
  const ids = board.read().connections.map(({ id }) => id)
  const started = checksOf(
    board,
    ids.filter((id) => required?.has(id) ?? true),
  )
  const server = await opsServer({
    listenOn,
    checks: checksOf(board, ids),
    metrics,
    routes: {
      '/status': reading((res) => sendJson(res, 200, board.read())),
      '/startupz': reading((res) => {
        const { ready, text } = started.report()
        send(res, ready ? 200 : 503, text)
      }),
      '/events': listening(events),
      '/openapi.yaml': reading((res) => void sendDocument(res)),
    },
    otherwise: (req, res) => oneConnection(board, req, res),
    accept: (localAddress) => !isOwnAddress(board, localAddress),
  })
  return {
    address: server.address,
    close: async () => {
      events.close()
      await server.close()
    },
  }
}

function checksOf(board: StatusBoard, ids: readonly string[]): Checks {
  const all = checks()
  for (const id of ids) all.add(id, () => whyNotReady(board, id))
  return all
}

function whyNotReady(board: StatusBoard, id: string): string | undefined {
  const connection = board.read().connections.find((one) => one.id === id)
  if (connection === undefined || carriesPackets(connection)) return undefined
  return `${connection.networkService}: ${connection.message}`
}

function listening(events: EventStream): Route {
  return (req, res) => {
    if (req.method !== 'GET') return send(res, 405, 'only GET is answered here\n')
    const last = Number.parseInt(String(req.headers['last-event-id'] ?? ''), 10)
    if (events.open(res, Number.isNaN(last) ? undefined : last)) return
    sendJson(res, 503, { message: 'too many listen already' })
  }
}

function oneConnection(board: StatusBoard, req: IncomingMessage, res: ServerResponse): void {
  const [, encoded] = /^\/connections\/([^/]+)$/.exec(pathOf(req)) ?? []
  const id = encoded === undefined ? undefined : decoded(encoded)
  const connection = board.read().connections.find((one) => one.id === id)
  if (connection !== undefined) return reading((out) => sendJson(out, 200, connection))(req, res)
  const message =
    encoded === undefined
      ? 'there is /status, /connections/{id}, /events, /healthz, /livez, /startupz, /readyz, /metrics, /openapi.yaml'
      : 'no such connection; /status lists them'
  sendJson(res, 404, { message })
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** The document lies beside the bundle, and one folder up from the compiled file. */
async function sendDocument(res: ServerResponse): Promise<void> {
  for (const place of ['./openapi.yaml', '../openapi.yaml']) {
    try {
      const text = await readFile(new URL(place, import.meta.url), 'utf8')
      return send(res, 200, text, 'application/yaml; charset=utf-8')
    } catch {
      continue
    }
  }
  sendJson(res, 404, { message: 'this build has no openapi.yaml' })
}

function isOwnAddress(board: StatusBoard, localAddress: string): boolean {
  const address = localAddress.replace(/^::ffff:(?=\d+\.)/, '')
  return board
    .read()
    .connections.some(({ addresses }) => addresses.some((prefix) => prefix.split('/', 1)[0] === address))
}

function sendJson(res: ServerResponse, status: number, value: unknown): void {
  send(res, status, `${JSON.stringify(value)}\n`, jsonType)
}
