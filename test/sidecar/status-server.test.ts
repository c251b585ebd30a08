import { Connection } from '@nsm/api/gen/connection.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { metricsText } from '@nsm/sdk/process/metrics-text.js'
import { statusBoard, type StatusBoard } from '@nsm/sidecar/status-board.js'
import { statusServer } from '@nsm/sidecar/status-server.js'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { faults } from '../kit/json-schema.js'
import { until } from '../kit/until.js'

const document = parse(readFileSync(new URL('../../../sidecar/openapi.yaml', import.meta.url), 'utf8')) as {
  paths: Record<
    string,
    { get: { responses: Record<string, { content: Record<string, { schema: object }> }> } }
  >
  components: { schemas: Record<string, object> }
}

const connection = Connection.fromPartial({
  networkServiceEndpointName: 'server',
  mechanism: { type: 'KERNEL', parameters: { name: 'nsm-1' } },
  context: {
    ipContext: {
      srcIpAddrs: ['127.0.0.9/32'],
      dstIpAddrs: ['127.0.0.8/32'],
      srcRoutes: [{ prefix: '127.0.0.8/32' }],
    },
    dnsContext: { configs: [{ dnsServerIps: ['127.0.0.8'], searchDomains: ['x'] }] },
  },
  path: {
    index: 0,
    pathSegments: [{ name: 'pod', id: 'pod-0', token: 't', expires: new Date(), metrics: { a: 'b' } }],
  },
})

async function serve(
  t: Test,
  required?: ReadonlySet<string>,
): Promise<{ url: string; board: StatusBoard; port: number }> {
  const wishes = [
    { id: 'pod-0', networkService: 'db', labels: { app: 'x' } },
    { id: 'pod 1', networkService: 'web', labels: {} },
  ]
  const board = statusBoard(
    { name: 'pod', spiffeId: () => 'spiffe://k8s.nsm/ns/a/pod/b' },
    wishes,
    systemClock,
  )
  const server = await statusServer('0.0.0.0:0', board, metricsText([]), required)
  t.teardown(() => server.close())
  const port = Number(new URL(server.address ?? '').port)
  return { url: `http://127.0.0.1:${port}`, board, port }
}

/** The answer, checked against what the document says about it. */
async function described(t: Test, url: string, path: string, as = path): Promise<unknown> {
  const res = await fetch(`${url}${path}`)
  const [type = ''] = (res.headers.get('content-type') ?? '').split(';', 1)
  const content = document.paths[as]?.get.responses[String(res.status)]?.content[type]
  if (content === undefined) throw new Error(`${as} is not described for ${res.status} ${type}`)
  const value: unknown = type === 'application/json' ? await res.json() : await res.text()
  t.same(faults(content.schema as never, value, document), [], `${path} is as described`)
  return value
}

t.test('every answer is as the document describes it', async (t) => {
  const { url, board } = await serve(t)
  t.match(await described(t, url, '/status'), {
    ready: false,
    connections: [{ id: 'pod-0' }, { id: 'pod 1' }],
  })
  t.match(await described(t, url, '/readyz'), /\[-\]pod-0 failed: db: asking for db\n/)
  board.apply({ type: 'established', id: 'pod-0', connection, ms: 1.5 })
  board.apply({ type: 'lost', id: 'pod-0', cause: 'DataPlaneLost' })
  board.apply({ type: 'established', id: 'pod-0', connection, ms: 1.5 })
  board.apply({ type: 'established', id: 'pod 1', connection, ms: 1.5 })
  board.apply({ type: 'failed', id: 'unknown', error: 'ignored' })
  t.match(await described(t, url, '/status'), {
    name: 'pod',
    ready: true,
    connections: [{ state: 'UP', heals: { count: 1 } }, { state: 'UP' }],
  })
  t.match(await described(t, url, '/connections/pod-0', '/connections/{id}'), {
    id: 'pod-0',
    interface: 'nsm-1',
  })
  t.match(await described(t, url, '/connections/pod%201', '/connections/{id}'), { id: 'pod 1' })
  t.match(await described(t, url, '/connections/other', '/connections/{id}'), {
    message: /no such connection/,
  })
  t.match(await described(t, url, '/connections/%', '/connections/{id}'), { message: /no such connection/ })
  for (const path of ['/healthz', '/livez', '/startupz', '/readyz', '/metrics']) await described(t, url, path)
  t.match(parse((await described(t, url, '/openapi.yaml')) as string), document)
  t.equal((await fetch(`${url}/elsewhere`)).status, 404)
  t.equal((await fetch(`${url}/status`, { method: 'DELETE' })).status, 405)
  t.equal((await fetch(`${url}/connections/pod-0`, { method: 'POST' })).status, 405)
})

t.test('the start waits for what is required, readiness for all', async (t) => {
  const { url, board } = await serve(t, new Set(['pod-0']))
  t.equal(await described(t, url, '/startupz'), '[-]pod-0 failed: db: asking for db\nnot ready\n')
  board.apply({ type: 'established', id: 'pod-0', connection, ms: 1 })
  t.equal(await described(t, url, '/startupz'), '[+]pod-0 ok\nok\n')
  t.match(await described(t, url, '/readyz'), '[-]pod 1 failed: web: asking for web\nnot ready\n')
  const none = await serve(t, new Set())
  t.equal(await described(t, none.url, '/startupz'), 'ok\n')
  const all = await serve(t)
  t.match(await described(t, all.url, '/startupz'), /pod-0 failed.*\n.*pod 1 failed/)
})

t.test('events: the status first, then changes; a reader goes on where it was', async (t) => {
  const { url, board } = await serve(t)
  const stop = new AbortController()
  const first = await read(`${url}/events`, stop.signal)
  await until('event 1 is there', () => first.events.length === 1)
  t.match(first.events[0], { id: '0', event: 'status', data: { ready: false } })
  board.apply({ type: 'failed', id: 'pod-0', error: 'one' })
  board.apply({ type: 'failed', id: 'pod-0', error: 'two' })
  await until('event 3 is there', () => first.events.length === 3)
  const change = first.events[2]
  t.match(change, { id: '2', event: 'change', data: { sequence: 2, type: 'failed' } })
  t.same(faults(document.components.schemas['Change'] as never, change?.data, document), [])
  t.same(faults(document.components.schemas['SidecarStatus'] as never, first.events[0]?.data, document), [])

  const again = await read(`${url}/events`, stop.signal, { 'last-event-id': '1' })
  await until('event 1 is there', () => again.events.length === 1)
  t.match(again.events[0], { id: '2', event: 'change' })
  for (let i = 0; i < 200; i++) board.apply({ type: 'failed', id: 'pod-0', error: 'more' })
  const late = await read(`${url}/events`, stop.signal, { 'last-event-id': '1' })
  await until('event 1 is there', () => late.events.length === 1)
  t.match(late.events[0], { id: '202', event: 'status' }, 'too much was missed')
  stop.abort()
})

t.test('no more than sixteen listen', async (t) => {
  const { url } = await serve(t)
  const stop = new AbortController()
  for (let i = 0; i < 16; i++) await read(`${url}/events`, stop.signal)
  t.match(await described(t, url, '/events'), { message: 'too many listen already' })
  stop.abort()
})

t.test('whoever comes over a connection is not served', async (t) => {
  const { port, board } = await serve(t)
  const answers = async (host: string): Promise<boolean> => {
    const socket = connect({ port, host })
    socket.on('error', () => undefined)
    socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    let text = ''
    socket.on('data', (chunk) => (text += String(chunk)))
    await once(socket, 'close')
    return text.startsWith('HTTP/1.1 200')
  }
  t.equal(await answers('127.0.0.9'), true)
  board.apply({ type: 'established', id: 'pod-0', connection, ms: 1 })
  t.equal(await answers('127.0.0.9'), false)
  t.equal(await answers('127.0.0.1'), true)
})

interface Event {
  readonly id: string
  readonly event: string
  readonly data: unknown
}

/** Reads Server-Sent Events in the background. */
async function read(
  url: string,
  signal: AbortSignal,
  headers: Record<string, string> = {},
): Promise<{ events: Event[] }> {
  const res = await fetch(url, { signal, headers })
  const events: Event[] = []
  const follow = async (): Promise<void> => {
    let text = ''
    for await (const chunk of res.body!) {
      text += Buffer.from(chunk as Uint8Array).toString()
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s, 2)))
        events.push({ ...fields, data: JSON.parse(fields['data'] ?? 'null') } as Event)
      }
    }
  }
  follow().catch(() => undefined)
  return { events }
}
