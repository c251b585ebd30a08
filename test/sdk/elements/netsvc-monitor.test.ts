import { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { Match, type DeepPartial } from '@nsm/api/gen/registry.js'
import { chain, connectionOf, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { begin } from '@nsm/sdk/elements/begin.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { netsvcMonitor } from '@nsm/sdk/elements/netsvc-monitor.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'
import { newStores, service } from '../../kit/registry-mesh.ts'
import { settled } from '../../kit/settled.ts'
import { until } from '../../kit/until.ts'

const minute = 60_000
const lingerMs = 5_000

/** Service `db` whose endpoint `e` has the label app=postgres; connections live for a minute. */
async function world() {
  const clock = handClock()
  const ctx = background({ clock })
  const stores = newStores()
  const watches = { opened: 0, open: 0, broken: false }
  let breaks: (() => void)[] = []
  const registries: Registries = {
    networkServiceEndpoints: stores.networkServiceEndpoints,
    networkServices: {
      ...stores.networkServices,
      async *find(c, query) {
        if (watches.broken) throw new NsmError('UNAVAILABLE', 'down')
        watches.opened += 1
        watches.open += 1
        const broken = new AbortController()
        breaks.push(() => broken.abort())
        try {
          yield* stores.networkServices.find(
            { ...c, signal: AbortSignal.any([c.signal, broken.signal]) },
            query,
          )
        } finally {
          watches.open -= 1
        }
      },
    },
  }
  const closed: string[] = []
  const end: Element = {
    name: 'end',
    async request(_ctx, req) {
      const expires = new Date(clock.now() + minute)
      const path = { index: 0, pathSegments: [{ expires }, { expires: new Date(clock.now() + 2 * minute) }] }
      return Connection.fromPartial({ ...connectionOf(req), networkServiceEndpointName: 'e', path })
    },
    async close(_ctx, conn) {
      closed.push(conn.id)
    },
  }
  const chained = chain([begin('server'), netsvcMonitor(registries), end])
  const register = async (...matches: DeepPartial<Match>[]): Promise<void> => {
    await stores.networkServices.register(
      ctx,
      service('db', { matches: matches.map((m) => Match.fromPartial(m)) }),
    )
    await settled()
  }
  await register()
  await stores.networkServiceEndpoints.register(ctx, endpoint('e'))
  return {
    ctx,
    clock,
    stores,
    watches,
    closed,
    register,
    breakAll: async () => {
      for (const run of breaks) run()
      breaks = []
      await settled()
    },
    request: async (id: string, labels: Record<string, string> = {}) => {
      const req = NetworkServiceRequest.fromPartial({ connection: { id, networkService: 'db', labels } })
      const conn = await chained.request(ctx, req)
      await settled()
      return conn
    },
    close: async (conn: Connection) => {
      await chained.close(ctx, conn)
      await settled()
    },
  }
}

const to = (app: string, more: DeepPartial<Match> = {}): DeepPartial<Match> => ({
  ...more,
  routes: [{ destinationSelector: { app } }],
})

t.test('a connection whose endpoint does not match its service any more is closed', async (t) => {
  const { request, register, closed, watches, clock } = await world()
  await request('a', { app: 'x' })
  await request('b', { app: 'y' })
  t.same(watches, { opened: 1, open: 1, broken: false }, 'one watch for both')
  await register(to('postgres'))
  t.same(closed, [])
  await register(to('mysql', { sourceSelector: { app: 'x' } }), to('postgres'))
  t.same(closed, ['a'])
  await register(to('mysql'))
  t.same(closed, ['a', 'b'])
  await advance(clock, lingerMs)
  await until('the watch has ended', () => watches.open === 0)
})

t.test('an endpoint that is not registered, or has expired, is not a matter of the service', async (t) => {
  const { ctx, request, register, closed, stores } = await world()
  await request('a')
  await stores.networkServiceEndpoints.register(ctx, endpoint('e', { expirationTime: new Date(1) }))
  await register(to('postgres'))
  await stores.networkServiceEndpoints.unregister(ctx, endpoint('e'))
  await register(to('mysql'))
  t.same(closed, [])
})

t.test('what changed before the connection was there is noticed too', async (t) => {
  const { request, register, closed } = await world()
  await request('a', { app: 'x' })
  await register(to('mysql', { sourceSelector: { app: 'late' } }), to('postgres'))
  await request('b', { app: 'late' })
  t.same(closed, ['b'])
})

t.test('a watch that breaks is opened again every 100 ms', async (t) => {
  const { request, register, closed, clock, watches, breakAll } = await world()
  await request('a')
  watches.broken = true
  await breakAll()
  await register(to('mysql'))
  await advance(clock, 1000)
  t.same(closed, [])
  watches.broken = false
  await advance(clock, 100)
  t.same(closed, ['a'])
})

t.test('a watch ends some time after the last connection: closed, or not refreshed', async (t) => {
  const { request, close, clock, watches } = await world()
  const a = await request('a')
  await request('b')
  await close(a)
  t.equal(watches.open, 1)
  await advance(clock, minute - 1000)
  await request('b')
  await advance(clock, minute - 1000)
  t.equal(watches.open, 1)
  await advance(clock, lingerMs)
  await request('c')
  await advance(clock, minute + lingerMs - 1000)
  t.same([watches.opened, watches.open], [1, 1], 'the next connection finds it open')
  await advance(clock, 1000)
  t.equal(watches.open, 0)
  await advance(clock, 1000)
  t.equal(clock.pending, 0)
})
