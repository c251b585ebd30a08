import { once } from 'node:events'
import { ConnectionEventType, MonitorScopeSelector, State, type Connection } from '@nsm/api/gen/connection.js'
import { withCancel } from '@nsm/sdk/ctx.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { recording, refusing } from '../../kit/elements.ts'
import { ask, mesh, within } from '../../kit/mesh.ts'
import { until } from '../../kit/until.ts'

t.test('without a liveness check every loss closes and reselects', async (t) => {
  const m = await mesh(t)
  const nse = m.hop('nse')
  const seen = recording()
  m.hop('forwarder', 'nse', { elements: [seen.element] })
  m.hop('nsmgr', 'forwarder')
  const losses: string[] = []
  const client = m.client('nsmgr', { heal: { lost: (_conn, loss) => losses.push(loss) } })
  const conn = await client.request(within(), ask('client-0', { networkServiceEndpointName: 'nse' }))
  nse.kill()
  const again = nse.start()
  await until('the new endpoint serves', () => again.counts().up === 1)
  await until('the forwarder was asked', () =>
    seen.requests.some((r) => r.state === State.RESELECT_REQUESTED),
  )
  t.same(losses.slice(0, 1), ['control plane'])
  t.ok(seen.closes.length > 0, 'the old connection was closed')
  const reselect = seen.requests.find(({ state }) => state === State.RESELECT_REQUESTED)
  t.equal(reselect?.networkServiceEndpointName, '', 'any endpoint will do')
  t.equal(reselect?.mechanism, undefined)
  await client.close(within(), conn)
  t.same(again.counts(), { up: 0, down: 0 })
  t.equal(m.network.sessions, 0)
})

t.test('while packets pass the same connection is asked for again, for as long as it takes', async (t) => {
  const m = await mesh(t)
  const seen = recording()
  m.hop('nse', undefined, { elements: [seen.element] })
  const nsmgr = m.hop('nsmgr', 'nse')
  const client = m.client('nsmgr', { heal: { liveness: async () => true, livenessIntervalMs: 5 } })
  const conn = await client.request(within(), ask())
  const before = seen.requests.length
  nsmgr.kill()
  await new Promise((resolve) => setTimeout(resolve, 50))
  const restarted = nsmgr.start()
  await until('the restarted manager knows the connection', () => restarted.counts().up === 1)
  t.ok(seen.requests.length > before)
  t.equal(seen.closes.length, 0, 'nothing was closed')
  t.same(
    seen.requests.at(-1)?.path?.pathSegments.map(({ id }) => id),
    conn.path?.pathSegments.map(({ id }) => id),
    'all hops keep their ids',
  )
})

t.test('packets that do not pass are a loss, although all hops are up', async (t) => {
  const m = await mesh(t)
  const seen = recording()
  const nse = m.hop('nse', undefined, { elements: [seen.element] })
  let passes = true
  const losses: string[] = []
  const client = m.client('nse', {
    heal: {
      liveness: async () => passes,
      livenessIntervalMs: 2,
      lost: (_conn, loss) => {
        losses.push(loss)
        passes = true
      },
    },
  })
  await client.request(within(), ask())
  passes = false
  await until('it is closed and asked for again', () => seen.closes.length === 1 && nse.counts().up === 1)
  t.same(losses, ['data plane'])
})

t.test('a next hop that asks for a refresh gets one at once', async (t) => {
  const m = await mesh(t)
  const seen = recording()
  const { service, svid } = m.hop('nse', undefined, { elements: [seen.element] })
  let asksForRefresh = (): void => undefined
  const asked = new Promise<void>((resolve) => (asksForRefresh = resolve))
  let streams = 0
  m.network.listen('mem://asking', {
    svid,
    service,
    monitor: {
      async *monitor(ctx) {
        const first = streams++ === 0
        yield { type: ConnectionEventType.INITIAL_STATE_TRANSFER, connections: {} }
        if (first) {
          await asked
          const [conn] = seen.requests
          if (conn === undefined) throw new Error('nobody has asked')
          const state = State.REFRESH_REQUESTED
          yield { type: ConnectionEventType.UPDATE, connections: { [conn.id]: { ...conn, state } } }
        }
        await once(ctx.signal, 'abort')
      },
    },
  })
  await m.client('asking', { heal: {} }).request(within(), ask())
  asksForRefresh()
  await until('it is asked again', () => seen.requests.length === 2)
  t.equal(seen.closes.length, 0)
})

t.test('a next hop that always asks for a refresh gets five in a second', async (t) => {
  const clock = handClock(Date.now())
  const m = await mesh(t, { clock })
  const seen = recording()
  const { service, svid } = m.hop('nse', undefined, { elements: [seen.element] })
  m.network.listen('mem://insatiable', {
    svid,
    service,
    monitor: {
      async *monitor(ctx) {
        const conn = seen.requests.at(-1)
        const connections = conn && { [conn.id]: { ...conn, state: State.REFRESH_REQUESTED } }
        yield { type: ConnectionEventType.INITIAL_STATE_TRANSFER, connections: connections ?? {} }
        await once(ctx.signal, 'abort')
      },
    },
  })
  const client = m.client('insatiable', { heal: {} })
  const conn = await client.request(within(60_000, clock), ask())
  await advance(clock, 10)
  t.equal(seen.requests.length, 2, 'at once')
  await advance(clock, 2_000)
  t.ok(seen.requests.length > 7 && seen.requests.length <= 12, `${seen.requests.length} in 2 s`)
  await client.close(within(60_000, clock), conn)
})

t.test('a check that takes too long is negative', async (t) => {
  const m = await mesh(t)
  m.hop('nse')
  const losses: string[] = []
  const client = m.client('nse', {
    heal: {
      liveness: (ctx) =>
        new Promise((_, reject) => {
          ctx.signal.addEventListener('abort', () => reject(new Error('too late')))
        }),
      livenessIntervalMs: 2,
      livenessTimeoutMs: 5,
      lost: (_conn, loss) => losses.push(loss),
    },
  })
  await client.request(within(), ask())
  await until('the loss is known', () => losses.length > 0)
  t.equal(losses[0], 'data plane')
})

t.test('Close ends healing, even in the middle of it', async (t) => {
  const m = await mesh(t)
  const nse = m.hop('nse')
  const nsmgr = m.hop('nsmgr', 'nse')
  const losses: string[] = []
  const client = m.client('nsmgr', { heal: { lost: (_conn, loss) => losses.push(loss) } })
  const conn = await client.request(within(), ask())
  nse.kill()
  await until('healing has begun', () => losses.length > 0)
  await client.close(within(), conn).catch(() => undefined)
  const back = nse.start()
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.same(back.counts(), { up: 0, down: 0 }, 'nobody asks any more')
  t.equal(nsmgr.counts().up, 0)
})

t.test('a Request whose monitor cannot be opened fails and is closed', async (t) => {
  const m = await mesh(t)
  const seen = recording()
  const nse = m.hop('nse', undefined, { elements: [seen.element], monitor: { maxWatchers: 0 } })
  const client = m.client('nse', { heal: {} })
  await t.rejects(client.request(within(), ask()), { code: 'RESOURCE_EXHAUSTED' })
  t.equal(seen.closes.length, 1)
  t.same(nse.counts(), { up: 0, down: 0 })
  t.equal(m.network.sessions, 0)
})

t.test('what an earlier life of the client left behind, under the same id, is no loss', async (t) => {
  const m = await mesh(t)
  const seen = recording()
  const refuse = refusing()
  refuse.state.on = false
  m.hop('nsmgr', undefined, { elements: [seen.element, refuse.element] })
  const svid = m.ca.svid('/ns/a/pod/client')
  const earlier = await m.network.dial(svid, m.tokens)(within(), 'mem://nsmgr')
  const old = await earlier.request(within(), ask())
  const losses: string[] = []
  const client = m.client('nsmgr', { svid, heal: { lost: (_conn, loss) => losses.push(loss) } })
  const conn = await client.request(within(), ask())
  t.equal(conn.id, old.id)
  t.not(conn.path?.pathSegments[1]?.id, old.path?.pathSegments[1]?.id)

  const told: string[] = []
  await withCancel(within(), async (ctx, cancel) => {
    const selector = MonitorScopeSelector.fromPartial({ pathSegments: [{ id: 'client-0' }] })
    for await (const { type, connections } of earlier.monitor(ctx, selector)) {
      told.push(
        `${type} ${Object.values(connections)
          .map(({ state }) => state)
          .join()}`,
      )
      if (told.length === 1) {
        refuse.state.on = true
        await t.rejects(earlier.request(within(), { connection: old, mechanismPreferences: [] }))
        refuse.state.on = false
      }
      if (told.length === 2) await earlier.close(within(), old)
      if (told.length === 3) break
    }
    cancel(undefined)
  })
  t.same(told, ['0 0,0', '1 1', '2 1'], 'two at first, then one of them is DOWN, then deleted')
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.same(losses, [])
  t.equal(seen.requests.length, 3)
})

t.test('a connection that is lost again and again is asked for at growing distances', async (t) => {
  const clock = handClock(Date.now())
  const m = await mesh(t, { clock })
  const seen = recording()
  const { service, svid } = m.hop('nse', undefined, { elements: [seen.element] })
  m.network.listen('mem://weak', {
    svid,
    service,
    monitor: {
      async *monitor() {
        yield { type: ConnectionEventType.INITIAL_STATE_TRANSFER, connections: {} }
        await new Promise<void>((resolve) => clock.after(30, resolve))
      },
    },
  })
  await m.client('weak', { heal: {} }).request(within(60_000, clock), ask())
  await advance(clock, 300)
  t.ok(seen.requests.length >= 3, 'a few times at once')
  await advance(clock, 10_000)
  t.ok(seen.requests.length > 8, 'it goes on')
  t.ok(seen.requests.length < 25, `${seen.requests.length} times in 10 s`)
})

t.test('a loss that is told before the answer is not forgotten with it', async (t) => {
  const m = await mesh(t)
  const { service, svid } = m.hop('nse')
  const told: (() => void)[] = []
  let lost: Connection | undefined
  m.network.listen('mem://hasty', {
    svid,
    service: {
      async request(ctx, req) {
        const conn = await service.request(ctx, req)
        if (told.length === 0) return conn
        const path = { index: 2, pathSegments: conn.path?.pathSegments ?? [] }
        lost = { ...conn, id: path.pathSegments[2]?.id ?? '', path, state: State.DOWN }
        for (const tell of told) tell()
        await new Promise((resolve) => setTimeout(resolve, 20))
        return conn
      },
      close: (ctx, conn) => service.close(ctx, conn),
    },
    monitor: {
      async *monitor(ctx) {
        const connections = lost === undefined ? {} : { [lost.id]: lost }
        const told1 = new Promise<void>((resolve) => told.push(resolve))
        yield { type: ConnectionEventType.INITIAL_STATE_TRANSFER, connections }
        await Promise.race([told1, once(ctx.signal, 'abort')])
        if (lost !== undefined) yield { type: ConnectionEventType.UPDATE, connections: { [lost.id]: lost } }
        await once(ctx.signal, 'abort')
      },
    },
  })
  const nsmgr = m.hop('nsmgr', 'hasty')
  const client = m.client('nsmgr')
  await client.request(within(), ask('client-0'))
  await until('the stream is open', () => told.length === 1)
  t.same(nsmgr.counts(), { up: 1, down: 0 })
  await client.request(within(), ask('client-1'))
  await until('the second one is DOWN', () => nsmgr.counts().down === 1)
  t.equal(nsmgr.counts().up, 1)
})
