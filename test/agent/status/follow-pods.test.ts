import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { nodePods } from '@nsm/agent/node-pods.js'
import { followPods, type FollowedPods } from '@nsm/agent/status/follow-pods.js'
import { Connection } from '@nsm/api/gen/connection.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { eventRecorder } from '@nsm/kubernetes/events.js'
import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { silent } from '@nsm/sdk/log.js'
import { metricsText } from '@nsm/sdk/process/metrics-text.js'
import { statusBoard, type StatusBoard } from '@nsm/sidecar/status-board.js'
import { statusServer } from '@nsm/sidecar/status-server.js'
import t, { type Test } from 'tap'
import { serverAndClient } from '../../kit/api-client.ts'
import type { TestApiServer } from '../../kit/api-server.ts'
import { fastClock } from '../../kit/fast-clock.ts'
import { freePort } from '../../kit/running-process.ts'
import { until } from '../../kit/until.ts'

const pods = '/api/v1/pods'
const connection = Connection.fromPartial({
  networkService: 'db',
  networkServiceEndpointName: 'postgres-0',
  mechanism: { type: 'KERNEL', parameters: { name: 'nsm-1' } },
  context: { ipContext: { srcIpAddrs: ['172.16.0.1/32'] } },
})

interface Node {
  readonly server: TestApiServer
  readonly followed: FollowedPods
  /** `type reason message` of all Events in the store. */
  events(): readonly string[]
  condition(): Readonly<Record<string, string>> | undefined
}

async function startNode(t: Test, options: { podCondition?: boolean; clock?: Clock } = {}): Promise<Node> {
  const { server, client } = await serverAndClient(t)
  const known = nodePods(client, 'node-1', silent)
  const recorder = eventRecorder({ client, component: 'nsm-agent', instance: 'node-1', log: silent })
  const { podCondition = false, clock = systemClock } = options
  const followed = followPods({ pods: known, client, events: recorder, podCondition, clock, log: silent })
  t.teardown(async () => {
    followed.close()
    await recorder.close()
    known.close()
  })
  return {
    server,
    followed,
    events: () =>
      server.store
        .list('/api/v1/events')
        .map(({ type, reason, message }) => `${String(type)} ${String(reason)} ${String(message)}`),
    condition() {
      const status = server.store.get(pods, 'default', 'a')?.['status'] as
        { conditions?: readonly Record<string, string>[] } | undefined
      return status?.conditions?.find(({ type }) => type === 'networkservicemesh.io/connected')
    },
  }
}

interface PodOptions {
  readonly port: number
  readonly isRunning?: boolean
  readonly gates?: readonly string[]
}

function pod({ port, isRunning = true, gates = [] }: PodOptions): KubernetesObject {
  const env = [
    { name: 'NSM_OPS_LISTEN_ON', value: `:${port}` },
    { name: 'NSM_NETWORK_SERVICES', value: 'kernel://db/nsm-1' },
  ]
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'a', namespace: 'default', uid: '0b0f6f0c-4c1e-4a6e-9f5e-2d1a4f2b8c11' },
    spec: {
      nodeName: 'node-1',
      readinessGates: gates.map((conditionType) => ({ conditionType })),
      initContainers: [{ name: 'sidecar', restartPolicy: 'Always', env }],
    },
    status: {
      podIP: '127.0.0.1',
      initContainerStatuses: [{ name: 'sidecar', state: isRunning ? { running: {} } : { waiting: {} } }],
    },
  }
}

/** What a sidecar serves, by its own code. */
async function sidecar(
  t: Test,
  port = 0,
): Promise<{ board: StatusBoard; port: number; close(): Promise<void> }> {
  const wishes = [{ id: 'a-0', networkService: 'db', labels: {} }]
  const board = statusBoard({ name: 'a', spiffeId: () => null }, wishes, systemClock)
  const server = await statusServer(`0.0.0.0:${port}`, board, metricsText([]))
  t.teardown(() => server.close())
  return { board, port: Number(new URL(server.address ?? '').port), close: () => server.close() }
}

t.test('what a sidecar says becomes Events on its pod', async (t) => {
  const node = await startNode(t)
  const { board, port } = await sidecar(t)
  node.server.store.put(pods, pod({ port }))
  await until('the pod is followed', () => node.followed.counts.followed === 1)
  board.apply({ type: 'established', id: 'a-0', connection, ms: 3 })
  await until('it is connected', () => node.events().length === 1)
  t.same(node.events(), [
    'Normal NetworkServiceConnected db: nsm-1 is connected to postgres-0, 172.16.0.1/32',
  ])
  t.match(node.server.store.list('/api/v1/events'), [
    { involvedObject: { kind: 'Pod', namespace: 'default', name: 'a' }, metadata: { namespace: 'default' } },
  ])
  board.apply({ type: 'lost', id: 'a-0', cause: 'DataPlaneLost' })
  board.apply({ type: 'established', id: 'a-0', connection, ms: 3 })
  await until('it is healed', () => node.events().length === 3)
  t.ok(
    node
      .events()
      .some((event) => event.startsWith('Warning NetworkServiceFailed db: DataPlaneLost: packets')),
  )
  t.ok(node.events().some((event) => /^Normal NetworkServiceHealed db: .* after DataPlaneLost/.test(event)))
  t.equal(node.condition(), undefined, 'nobody asked for a condition')
})

t.test('the condition of a pod with the readiness gate follows its connections', async (t) => {
  const node = await startNode(t)
  const { board, port } = await sidecar(t)
  node.server.store.put(pods, pod({ port, gates: ['networkservicemesh.io/connected'] }))
  await until('it is written', () => node.condition() !== undefined)
  t.match(node.condition(), { status: 'False', reason: 'Requested', message: 'db: asking for db' })
  board.apply({ type: 'established', id: 'a-0', connection, ms: 3 })
  await until('it is connected', () => node.condition()?.['status'] === 'True')
  t.match(node.condition(), { reason: 'Connected', lastTransitionTime: /^\d{4}-\d\d-\d\dT[\d:]+Z$/ })
  board.apply({ type: 'lost', id: 'a-0', cause: 'ControlPlaneLost' })
  board.apply({ type: 'lost', id: 'a-0', cause: 'DataPlaneLost' })
  await until('it is lost', () => node.condition()?.['status'] === 'False')
  t.match(node.condition(), { reason: 'DataPlaneLost' })
  const patches = node.server.calls.filter(
    ({ method, path }) => method === 'PATCH' && path.includes('/pods/'),
  )
  for (const { path, headers, body } of patches) {
    t.equal(path, '/api/v1/namespaces/default/pods/a/status')
    t.equal(headers['content-type'], 'application/strategic-merge-patch+json')
    t.match(body, { metadata: { uid: '0b0f6f0c-4c1e-4a6e-9f5e-2d1a4f2b8c11' } })
  }
})

t.test('a condition that could not be written is tried again, the newest', async (t) => {
  const node = await startNode(t, { podCondition: true })
  const { board, port } = await sidecar(t)
  let refused = 0
  node.server.intercept = ({ method }, res) => {
    if (method !== 'PATCH' || refused > 0) return false
    refused += 1
    res
      .writeHead(403, { 'content-type': 'application/json' })
      .end('{"kind":"Status","code":403,"message":"no"}')
    return true
  }
  node.server.store.put(pods, pod({ port }))
  await until('it is refused', () => refused === 1)
  board.apply({ type: 'established', id: 'a-0', connection, ms: 3 })
  await until('it is written', () => node.condition()?.['status'] === 'True')
})

t.test('a sidecar is followed as long as it runs', async (t) => {
  const node = await startNode(t)
  const { port } = await sidecar(t)
  node.server.store.put(pods, pod({ port, isRunning: false }))
  await until('the pod is known', () => node.server.watches > 0)
  t.equal(node.followed.counts.followed, 0)
  node.server.store.put(pods, pod({ port }))
  await until('the pod is followed', () => node.followed.counts.followed === 1)
  node.server.store.remove(pods, 'default', 'a')
  await until('it is not followed', () => node.followed.counts.followed === 0)
})

t.test('a sidecar that cannot be reached is told once, and followed when it is back', async (t) => {
  const node = await startNode(t, { clock: fastClock(200), podCondition: true })
  const port = await freePort()
  node.server.store.put(pods, pod({ port }))
  const unknown = (): number =>
    node.events().filter((event) => event.includes('NetworkServiceStatusUnknown')).length
  await until('it is told', () => unknown() === 1)
  t.match(node.events(), [
    /^Warning NetworkServiceStatusUnknown .*127\.0\.0\.1:\d+ .*ECONNREFUSED.*NetworkPolicy/,
  ])
  t.match(node.followed.counts, { followed: 1, unreachable: 1 })
  await until('the condition says so', () => node.condition()?.['status'] === 'Unknown')
  const { board, close } = await sidecar(t, port)
  await until('it is reached', () => node.followed.counts.unreachable === 0)
  board.apply({ type: 'established', id: 'a-0', connection, ms: 3 })
  await until('it is connected', () => node.condition()?.['status'] === 'True')
  t.equal(unknown(), 1)
  await close()
})

t.test('that it cannot be reached is told again before the API server forgets it', async (t) => {
  const node = await startNode(t, { clock: fastClock(5_000) })
  node.server.store.put(pods, pod({ port: await freePort() }))
  const told = (): readonly KubernetesObject[] => node.server.store.list('/api/v1/events')
  await until('it is counted up', () => Number(told()[0]?.['count']) >= 2)
  t.equal(told().length, 1)
})

t.test('what is no status, or has no end, harms nobody', async (t) => {
  const node = await startNode(t, { clock: fastClock(200) })
  const answers: ((res: ServerResponse) => void)[] = [
    (res) => res.writeHead(404).end('no'),
    (res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<p>'),
    (res) =>
      res
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .end('event: status\ndata: {"connections":7}\n\n'),
    (res) =>
      res
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .end('event: status\ndata: {"connec\n\n: x\n\n'),
    (res) =>
      res
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .end('event: change\ndata: {"connection":{"id":1,"state":{},"heals":null}}\n\n'),
    (res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      const more = (): void => void (res.destroyed || (res.write('x'.repeat(65_536)), setImmediate(more)))
      more()
    },
  ]
  let asked = 0
  const odd = createServer((_req, res) => answers[asked++ % answers.length]!(res))
  odd.listen(0)
  t.teardown(() => void (odd.closeAllConnections(), odd.close()))
  node.server.store.put(pods, pod({ port: (odd.address() as AddressInfo).port }))
  await until('each was tried twice', () => asked > 2 * answers.length)
  t.equal(node.events().filter((event) => !event.includes('StatusUnknown')).length, 0)
})
