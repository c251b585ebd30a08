import {
  Connection,
  ConnectionEvent,
  ConnectionEventType,
  MonitorScopeSelector,
  State,
  type PathSegment,
} from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { connectionOf } from '@nsm/sdk/chain.js'
import { valueOf, type Ctx } from '@nsm/sdk/ctx.js'
import { eventQueue, type EventQueue } from '@nsm/sdk/elements/event-queue.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { incomingCall } from '@nsm/sdk/transport/call.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import { parseToken } from '@nsm/spiffe/es256.js'
import t, { type Test } from 'tap'
import { managerTokens, managerWorld, registerForwarder, type ManagerWorld } from '../kit/manager.ts'
import { within } from '../kit/mesh.ts'
import { until } from '../kit/until.ts'

const clientPath = '/ns/default/pod/alpine'
const id = (path: string): string => `spiffe://k8s.nsm${path}`
const nsmgrId = id('/ns/nsm-system/pod/nsmgr')
const forwarderId = id('/ns/nsm-system/pod/forwarder-1')
const segment = (name: string, own: string): PathSegment => ({
  name,
  id: own,
  token: '',
  expires: undefined,
  metrics: {},
})

/** The first Request of upstream's nsc, as §0.2 tells it. */
const first = (): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({
    connection: {
      id: 'alpine-0',
      networkService: 'kernel2kernel',
      labels: { podName: 'alpine' },
      path: { index: 0, pathSegments: [segment('alpine', 'alpine-0')] },
    },
    mechanismPreferences: [{ cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'nsm-1' } }],
  })

const again = (connection: Connection): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({ connection, mechanismPreferences: [] })

/** What a hand-made forwarder got, and what it says. */
interface Forwarder {
  readonly requests: {
    readonly conn: Connection
    readonly token: string | undefined
    readonly leftMs: number
  }[]
  readonly closes: Connection[]
  readonly selectors: MonitorScopeSelector[]
  /** One for each monitor stream. */
  readonly streams: EventQueue<ConnectionEvent>[]
  /** Both, in order. */
  readonly calls: string[]
  refuses: boolean
}

/** A forwarder that answers as upstream's does, with messages made by hand: own segment and the endpoint's behind it. */
async function handMadeForwarder(w: ManagerWorld, name = 'forwarder-1'): Promise<Forwarder> {
  const state: Forwarder = { requests: [], closes: [], selectors: [], streams: [], calls: [], refuses: false }
  const listenOn = `unix://${w.folder}/${name}.sock`
  const seen = (ctx: Ctx): string | undefined =>
    valueOf(ctx, incomingCall)?.requestHeaders.get('nsm-client-token')
  await w.serve(`/ns/nsm-system/pod/${name}`, listenOn, {
    networkService: {
      async request(ctx, req) {
        const conn = connectionOf(req)
        state.calls.push('request')
        state.requests.push({ conn, token: seen(ctx), leftMs: (ctx.deadlineMs ?? Infinity) - Date.now() })
        if (state.refuses) throw new NsmError('UNAVAILABLE', 'refused by the test')
        return answered(ctx, conn, name, req.mechanismPreferences[0])
      },
      async close(_ctx, conn) {
        state.calls.push('close')
        state.closes.push(conn)
      },
    },
    monitor: {
      async *monitor(ctx, selector) {
        const queue = eventQueue<ConnectionEvent>(100)
        state.selectors.push(selector)
        state.streams.push(queue)
        yield { type: ConnectionEventType.INITIAL_STATE_TRANSFER, connections: {} }
        yield* queue.drain(ctx.signal)
      },
    },
  })
  await registerForwarder(w, listenOn, name)
  return state
}

function answered(ctx: Ctx, conn: Connection, name: string, mechanism: Connection['mechanism']): Connection {
  const path = conn.path?.pathSegments ?? []
  const index = conn.path?.index ?? 0
  if (ctx.peer === undefined) throw new Error('a call without a peer')
  const callers = valueOf(ctx, incomingCall)?.requestHeaders
  const expires = new Date(callers?.get('nsm-client-token-expires') ?? 0)
  const caller = { ...path[index], token: callers?.get('nsm-client-token') ?? '', expires } as PathSegment
  const known = path[index + 1]?.name === name ? path[index + 1]?.id : undefined
  const own = { ...segment(name, known ?? `id-of-${name}`), ...managerTokens(ctx.peer) }
  return {
    ...conn,
    mechanism: conn.mechanism ?? mechanism,
    networkServiceEndpointName: 'nse-1',
    state: State.UP,
    path: { index, pathSegments: [...path.slice(0, index), caller, own] },
  }
}

/** As an event of the forwarder: its own id, its own index. */
function told(conn: Connection, state: State): ConnectionEvent {
  const { path } = conn
  const own = path?.pathSegments[2]?.id ?? 'id-of-forwarder-1'
  const pathSegments = [...(path?.pathSegments ?? []), segment('nse', 'id-of-nse')].slice(0, 4)
  if (pathSegments.length < 4) pathSegments.splice(2, 0, segment('forwarder-1', own))
  const connection = { ...conn, id: own, state, path: { index: 2, pathSegments } }
  return { type: ConnectionEventType.UPDATE, connections: { [own]: connection } }
}

/** Each call over a session of its own, as upstream's clients make them. */
const session = (w: ManagerWorld, path = clientPath): Promise<Remote> => w.dialAs(path)(within(), w.socket)

async function world(t: Test): Promise<{ w: ManagerWorld; forwarder: Forwarder }> {
  const w = await managerWorld(t)
  await w.start()
  const service = NetworkService.fromPartial({ name: 'kernel2kernel', payload: 'ETHERNET' })
  await w.stores.networkServices.register(within(), service)
  return { w, forwarder: await handMadeForwarder(w) }
}

/** Reads a monitor stream as upstream's heal does; ended with the test. */
function watch(
  t: Test,
  remote: Remote,
  pathSegments: Partial<PathSegment>[],
): () => Promise<ConnectionEvent> {
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const selector = MonitorScopeSelector.fromPartial({ pathSegments })
  const events = remote.monitor({ ...within(), signal: stop.signal }, selector)[Symbol.asyncIterator]()
  return async () => (await events.next()).value as ConnectionEvent
}

t.test('a Request of upstream’s nsc: what the forwarder gets, and what comes back', async (t) => {
  const { w, forwarder } = await world(t)
  const conn = await (await session(w)).request(within(), first())

  const [got] = forwarder.requests
  const path = got?.conn.path
  t.equal(path?.index, 1)
  t.equal(got?.conn.id, path?.pathSegments[1]?.id, 'the id is that of the own segment')
  t.match(path?.pathSegments, [
    { name: 'alpine', id: 'alpine-0', expires: Date },
    { name: 'nsmgr-1', id: /^[0-9a-f-]{36}$/, expires: Date },
  ])
  const tokens = path?.pathSegments.map(({ token }) => parseToken(token)) ?? []
  t.match(tokens, [
    { sub: id(clientPath), aud: [nsmgrId] },
    { sub: nsmgrId, aud: [id(clientPath)] },
  ])
  t.match(parseToken(got?.token ?? ''), { sub: nsmgrId, aud: [forwarderId] })
  t.match(got?.conn.labels, { podName: 'alpine', nodeName: 'node-1' })
  t.ok((got?.leftMs ?? 0) > 0 && (got?.leftMs ?? Infinity) <= 5_000, 'the deadline goes on')

  t.match(conn, { id: 'alpine-0', state: State.UP, path: { index: 0 } })
  t.match(conn.mechanism, { type: 'KERNEL', parameters: { name: 'nsm-1' } })
  const segments = conn.path?.pathSegments ?? []
  t.same(
    segments.map(({ name }) => name),
    ['alpine', 'nsmgr-1', 'forwarder-1'],
  )
  const chain = segments.map(({ token }) => parseToken(token))
  for (const [i, { aud }] of chain.slice(0, -1).entries()) t.ok(aud.includes(chain[i + 1]?.sub ?? ''))
  t.ok(segments.every(({ expires }) => (expires?.getTime() ?? 0) > Date.now()))

  const refreshed = await (await session(w)).request(within(), again(conn))
  const ids = (one: Connection): unknown => one.path?.pathSegments.map((s) => s.id)
  t.same(ids(refreshed), ids(conn), 'a refresh over another session keeps all ids')
  t.same(ids(forwarder.requests[1]?.conn ?? conn), ids(conn), 'and carries the whole path')
  t.match(forwarder.requests[1]?.conn.mechanism, { type: 'KERNEL' })
})

t.test('nsc finds its connection again by its id alone', async (t) => {
  const { w } = await world(t)
  const events = watch(t, await session(w), [{ id: 'alpine-0' }])
  t.match(await events(), { type: ConnectionEventType.INITIAL_STATE_TRANSFER }, 'at once, with nothing')
  const conn = await (await session(w)).request(within(), first())
  const nsmgr = conn.path?.pathSegments[1]?.id ?? ''
  t.match(await events(), {
    type: ConnectionEventType.UPDATE,
    connections: { [nsmgr]: { id: nsmgr, path: { index: 1 } } },
  })

  const later = watch(t, await session(w), [{ name: '', id: 'alpine-0' }])
  const { type, connections } = await later()
  t.equal(type, ConnectionEventType.INITIAL_STATE_TRANSFER)
  const [found] = Object.values(connections)
  t.match(found, {
    id: nsmgr,
    networkService: 'kernel2kernel',
    state: State.UP,
    mechanism: { type: 'KERNEL' },
    path: { index: 1, pathSegments: [{ name: 'alpine', id: 'alpine-0' }, {}, {}] },
  })
  const resumed = { ...(found ?? conn), id: 'alpine-0', path: { ...found?.path, index: 0 } } as Connection
  const answer = await (await session(w)).request(within(), again(resumed))
  t.equal(answer.path?.pathSegments[1]?.id, nsmgr, 'the same connection goes on')

  const other = watch(t, await session(w, '/ns/default/pod/other'), [{ id: 'alpine-0' }])
  t.same((await other()).connections, {}, 'nobody else hears of it')
})

t.test('what the forwarder tells comes on under the manager’s id and index', async (t) => {
  const { w, forwarder } = await world(t)
  const conn = await (await session(w)).request(within(), first())
  const nsmgr = conn.path?.pathSegments[1]?.id ?? ''
  const events = watch(t, await session(w), [{ name: 'alpine', id: 'alpine-0' }])
  await events()
  await until('the manager watches', () => forwarder.streams.length === 1)
  t.match(forwarder.selectors[0]?.pathSegments, [{ name: 'nsmgr-1' }])
  const [stream] = forwarder.streams
  const below = forwarder.requests[0]?.conn ?? conn
  const state = async (): Promise<unknown> => {
    const { type, connections } = await events()
    const one = connections[nsmgr]
    t.match(one, { id: nsmgr, path: { index: 1, pathSegments: [{ id: 'alpine-0' }] } })
    return [type, one?.state]
  }
  stream?.push(told(below, State.DOWN))
  stream?.push(told(below, State.DOWN))
  stream?.push(told(below, State.REFRESH_REQUESTED))
  t.same(await state(), [ConnectionEventType.UPDATE, State.DOWN])
  t.same(await state(), [ConnectionEventType.UPDATE, State.REFRESH_REQUESTED], 'each change once')
  stream?.push({ ...told(below, State.UP), type: ConnectionEventType.DELETE })
  t.same(await state(), [ConnectionEventType.UPDATE, State.DOWN], 'a deletion below is DOWN here')

  await (await session(w)).request(within(), again(conn))
  t.same(await state(), [ConnectionEventType.UPDATE, State.UP])
  for (const one of forwarder.streams) one.end(new NsmError('UNAVAILABLE', 'gone'))
  t.same(await state(), [ConnectionEventType.UPDATE, State.DOWN], 'so is the end of the stream')

  forwarder.refuses = true
  await t.rejects((await session(w)).request(within(), again(conn)), { code: 'UNAVAILABLE' })
  forwarder.refuses = false
  await (await session(w)).request(within(), again(conn))
  t.same(await state(), [ConnectionEventType.UPDATE, State.UP], 'a failure while DOWN is no news')
  forwarder.refuses = true
  await t.rejects((await session(w)).request(within(), again(conn)), { code: 'UNAVAILABLE' })
  t.same(await state(), [ConnectionEventType.UPDATE, State.DOWN], 'a failed refresh is')
})

t.test(
  'Close goes by ids: over a new session, with old tokens or none; an unknown one is well',
  async (t) => {
    const { w, forwarder } = await world(t)
    const conn = await (await session(w)).request(within(), first())
    const events = watch(t, await session(w), [{ id: 'alpine-0' }])
    await events()
    const path = { index: 0, pathSegments: (conn.path?.pathSegments ?? []).map((s) => segment(s.name, s.id)) }
    const bare = Connection.fromPartial({ id: 'alpine-0', path })
    await (await session(w)).close(within(), bare)
    t.match(forwarder.closes, [
      { id: forwarder.requests[0]?.conn.id, networkServiceEndpointName: 'nse-1', path: { index: 1 } },
    ])
    t.match(await events(), { type: ConnectionEventType.DELETE })
    await (await session(w)).close(within(), bare)
    await (
      await session(w)
    ).close(within(), Connection.fromPartial({ ...bare, path: connectionOf(first()).path }))
    t.equal(forwarder.closes.length, 1)
  },
)

t.test('RESELECT_REQUESTED closes below before it asks anew', async (t) => {
  const { w, forwarder } = await world(t)
  const conn = await (await session(w)).request(within(), first())
  const reselect = {
    ...conn,
    mechanism: undefined,
    networkServiceEndpointName: '',
    state: State.RESELECT_REQUESTED,
  }
  const request = { ...first(), connection: reselect }
  const answer = await (await session(w)).request(within(), request)
  t.same(forwarder.calls, ['request', 'close', 'request'])
  t.match(forwarder.closes[0], { networkServiceEndpointName: 'nse-1', state: State.UP })
  t.match(forwarder.requests[1]?.conn, {
    state: State.RESELECT_REQUESTED,
    networkServiceEndpointName: '',
    mechanism: undefined,
  })
  t.equal(answer.state, State.UP)
})

t.test('the forwarder that serves a connection is the only one, until the client reselects', async (t) => {
  const { w, forwarder } = await world(t)
  const conn = await (await session(w)).request(within(), first())
  const second = await handMadeForwarder(w, 'forwarder-2')
  await (await session(w)).request(within(), again(conn))
  t.same([forwarder.requests.length, second.requests.length], [2, 0])
  await w.stores.networkServiceEndpoints.unregister(
    within(),
    NetworkServiceEndpoint.fromPartial({ name: 'forwarder-1' }),
  )
  let reason = ''
  await until('the manager has heard of it', async () => {
    const remote = await session(w)
    reason = await remote.request(within(), again(conn)).then(() => '', String)
    return reason !== ''
  })
  t.match(reason, /forwarder forwarder-1 is not available/)
  t.equal(second.requests.length, 0)
  const reselect = { ...conn, mechanism: undefined, state: State.RESELECT_REQUESTED }
  const answer = await (await session(w)).request(within(), { ...first(), connection: reselect })
  t.equal(forwarder.closes.length, 1, 'the old one is closed')
  t.match(answer.path?.pathSegments[2], { name: 'forwarder-2', id: 'id-of-forwarder-2' })
  t.equal(second.requests.length, 1)
})

t.test(
  'a service that does not lead to the endpoint any more ends the connection, and nsc hears of it',
  async (t) => {
    const { w, forwarder } = await world(t)
    const named = { name: 'kernel2kernel', payload: 'ETHERNET' }
    const labels = { kernel2kernel: { labels: { app: 'v1' } } }
    const nse = { name: 'nse-1', url: 'tcp://10.0.0.9:5001', networkServiceNames: ['kernel2kernel'] }
    await w.stores.networkServiceEndpoints.register(
      within(),
      NetworkServiceEndpoint.fromPartial({ ...nse, networkServiceLabels: labels }),
    )
    await (await session(w)).request(within(), first())
    const events = watch(t, await session(w), [{ name: 'alpine', id: 'alpine-0' }])
    await events()
    const leadingTo = async (app: string): Promise<void> => {
      const metadata = { labels: { p2p: 'true' } }
      const matches = [{ routes: [{ destinationSelector: { app } }], metadata }]
      await w.stores.networkServices.register(within(), NetworkService.fromPartial({ ...named, matches }))
    }
    await leadingTo('v1')
    await (
      await session(w)
    ).request(within(), {
      ...first(),
      connection: {
        ...connectionOf(first()),
        id: 'alpine-1',
        path: { index: 0, pathSegments: [segment('alpine', 'alpine-1')] },
      },
    })
    t.equal(forwarder.closes.length, 0, 'it still does')
    await leadingTo('v2')
    t.match(await events(), {
      type: ConnectionEventType.DELETE,
      connections: { [forwarder.requests[0]?.conn.id ?? '']: { path: { index: 1 } } },
    })
    await until('both are closed at the forwarder', () => forwarder.closes.length === 2)
  },
)
