import {
  Connection,
  ConnectionEventType,
  MonitorScopeSelector,
  State,
  type ConnectionEvent,
} from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background, valueOf, type Ctx } from '@nsm/sdk/ctx.js'
import { monitor } from '@nsm/sdk/elements/monitor.js'
import { nextHopListener, type NextHopListener } from '@nsm/sdk/elements/monitor-client.js'
import t from 'tap'
import { refusing } from '../../kit/elements.ts'

const all = MonitorScopeSelector.fromPartial({})
const connOf = (id: string, conn: Partial<Connection> = {}): Connection =>
  Connection.fromPartial({
    id,
    networkService: 'web',
    path: {
      index: 1,
      pathSegments: [
        { name: 'client', id: `c-${id}` },
        { name: 'own', id },
      ],
    },
    ...conn,
  })
const { INITIAL_STATE_TRANSFER, UPDATE, DELETE } = ConnectionEventType

function server(options = {}) {
  const { element, ...rest } = monitor(options)
  const refuse = refusing()
  refuse.state.on = false
  let listener: NextHopListener | undefined
  const service = chain([
    element,
    refuse.element,
    {
      name: 'ear',
      request(ctx, req, next) {
        listener = valueOf(ctx, nextHopListener)
        return next.request(ctx, req)
      },
    },
  ])
  const ctx = background()
  const ask = (conn: Connection) => service.request(ctx, { connection: conn, mechanismPreferences: [] })
  return { ...rest, service, ctx, ask, refuse, nextHop: () => listener as NextHopListener }
}

/** Reads a stream in the background. */
function reader(stream: AsyncIterable<ConnectionEvent>) {
  const iterator = stream[Symbol.asyncIterator]()
  return {
    next: async () => (await iterator.next()).value as ConnectionEvent,
    end: () => iterator.return?.(),
  }
}

t.test('the state comes first, at once and even if empty, then what changes', async (t) => {
  const { monitor, service, ctx, ask, refuse } = server()
  const events = reader(monitor.monitor(ctx, all))
  t.match(await events.next(), { type: INITIAL_STATE_TRANSFER, connections: {} })
  await ask(connOf('a', { state: State.REFRESH_REQUESTED }))
  const first = await events.next()
  t.match(first, { type: UPDATE, connections: { a: { id: 'a', state: State.UP, path: { index: 1 } } } })
  refuse.state.on = true
  await t.rejects(ask(connOf('a')))
  t.match(await events.next(), { type: UPDATE, connections: { a: { state: State.DOWN } } })
  await t.rejects(ask(connOf('new')))
  await t.rejects(service.close(ctx, connOf('a')))
  t.match(await events.next(), { type: DELETE, connections: { a: { id: 'a' } } })
  await events.end()
})

t.test('one who comes later hears of what is there, by the selector', async (t) => {
  const { monitor, ctx, ask, counts } = server()
  await ask(connOf('a'))
  await ask(connOf('b', { networkService: 'db' }))
  t.same(counts(), { up: 2, down: 0 })
  const selected = async (selector: object): Promise<string[]> => {
    const events = reader(monitor.monitor(ctx, MonitorScopeSelector.fromPartial(selector)))
    const { connections } = await events.next()
    await events.end()
    return Object.keys(connections)
  }
  t.same(await selected({}), ['a', 'b'])
  t.same(await selected({ networkServices: ['db', 'x'] }), ['b'])
  t.same(await selected({ pathSegments: [{ id: 'c-a' }] }), ['a'])
})

t.test('what the next hop says is repeated as the own connection, once', async (t) => {
  const { monitor, ctx, ask, nextHop } = server()
  await ask(connOf('a', { payload: 'IP' }))
  const events = reader(monitor.monitor(ctx, all))
  await events.next()
  const below = connOf('a', { payload: 'other', state: State.UP })
  nextHop().told(below)
  nextHop().told({ ...below, state: State.DOWN, path: { index: 2, pathSegments: [] } })
  t.match(await events.next(), {
    type: UPDATE,
    connections: { a: { id: 'a', payload: 'IP', state: State.DOWN, path: { index: 1, pathSegments: [] } } },
  })
  nextHop().lost()
  await ask(connOf('a'))
  t.match(await events.next(), { connections: { a: { state: State.UP } } }, 'nothing in between')
  nextHop().lost()
  nextHop().lost()
  t.match(await events.next(), { connections: { a: { state: State.DOWN } } })
  await events.end()
})

t.test('one who does not read is cut off; the others are not', async (t) => {
  const { monitor, ctx, ask } = server({ maxQueued: 3 })
  const lazy = reader(monitor.monitor(ctx, all))
  await lazy.next()
  for (let i = 0; i < 5; i++) await ask(connOf(`c${i}`))
  await t.rejects(lazy.next(), { code: 'RESOURCE_EXHAUSTED' })
  const fresh = reader(monitor.monitor(ctx, all))
  t.equal(Object.keys((await fresh.next()).connections).length, 5)
  await fresh.end()
})

t.test('watchers are bounded, end with their signal, and with the process', async (t) => {
  const { monitor, ctx, close } = server({ maxWatchers: 1 })
  const caller = new AbortController()
  const mine: Ctx = { ...ctx, signal: caller.signal }
  const events = reader(monitor.monitor(mine, all))
  await events.next()
  await t.rejects(reader(monitor.monitor(ctx, all)).next(), { code: 'RESOURCE_EXHAUSTED' })
  const pending = events.next()
  caller.abort()
  t.equal(await pending, undefined)
  const other = reader(monitor.monitor(ctx, all))
  await other.next()
  close()
  await t.rejects(other.next(), { code: 'UNAVAILABLE' })
})

t.test('a large state comes in parts, the first one as such', async (t) => {
  const { monitor, ctx, ask } = server({ maxQueued: 1 })
  for (let i = 0; i < 70; i++) await ask(connOf(`c${i}`))
  const events = reader(monitor.monitor(ctx, all))
  const parts = [await events.next(), await events.next(), await events.next()]
  t.same(
    parts.map(({ type }) => type),
    [INITIAL_STATE_TRANSFER, UPDATE, UPDATE],
  )
  t.equal(new Set(parts.flatMap(({ connections }) => Object.keys(connections))).size, 70)
  await events.end()
})

t.test('how long a Request took is not told, and is no change', async (t) => {
  const { monitor, ctx, ask, nextHop } = server()
  const metrics = (ms: string) => ({
    index: 1,
    pathSegments: [{ name: 'client', id: 'c-a', metrics: { nsm_request_ms: ms } }],
  })
  await ask(Connection.fromPartial({ ...connOf('a'), path: metrics('5.00') }))
  const events = reader(monitor.monitor(ctx, all))
  t.same((await events.next()).connections['a']?.path?.pathSegments[0]?.metrics, {})
  const told = Connection.fromPartial({ ...connOf('a'), state: State.UP, path: metrics('6.00') })
  nextHop().told(told)
  nextHop().told({ ...told, state: State.DOWN })
  t.match(await events.next(), { connections: { a: { state: State.DOWN } } }, 'the first change that is one')
  await events.end()
})

t.test('what the next hop tells beyond all bounds is not repeated', async (t) => {
  const { monitor, ctx, ask, nextHop } = server()
  await ask(connOf('a'))
  const events = reader(monitor.monitor(ctx, all))
  await events.next()
  const context = { MTU: 0, extraContext: { x: 'y'.repeat(100_000) } }
  nextHop().told(Connection.fromPartial({ ...connOf('a'), context }))
  const { connections } = await events.next()
  t.equal(connections['a']?.state, State.DOWN)
  t.equal(connections['a']?.context, undefined)
  await events.end()
})
