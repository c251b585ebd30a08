import { Connection } from '@nsm/api/gen/connection.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background, withValue, type Ctx } from '@nsm/sdk/ctx.js'
import { clientUrl, closeUrl } from '@nsm/sdk/elements/client-url.js'
import { connect } from '@nsm/sdk/elements/connect.js'
import { dial, remoteOfCall } from '@nsm/sdk/elements/dial.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { X509Svid } from '@nsm/spiffe/svid.js'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.ts'
import { memoryNetwork } from '../../kit/memory-dial.ts'
import { testAuthority } from '../../kit/identity.ts'

const connOf = (id: string): Connection => Connection.fromPartial({ id })
const to = (url: string): Ctx => withValue(background(), clientUrl, url)
const silentMonitor = { monitor: async function* () {} }

async function world() {
  const ca = await testAuthority('k8s.nsm')
  const network = memoryNetwork()
  const svid: X509Svid = ca.svid('/a')
  const open = network.dial(svid, tokenGenerator({ maxLifetimeMs: 60_000, clock: systemClock }))
  const serve = (url: string, ...more: Element[]) => {
    const seen = recording()
    const kill = network.listen(url, {
      svid,
      service: chain([seen.element, ...more]),
      monitor: silentMonitor,
    })
    return { ...seen, kill }
  }
  const behind = recording()
  const client = chain([dial(open), behind.element, connect()])
  const request = (url: string, id = 'x') =>
    client.request(to(url), { connection: connOf(id), mechanismPreferences: [] })
  return { network, serve, client, request, behind }
}

t.test('the session of a connection is kept until its Close, which needs no URL', async (t) => {
  const { network, serve, client, request } = await world()
  const a = serve('mem://a')
  await request('mem://a')
  await request('mem://a')
  t.equal(network.sessions, 1)
  await client.close(background(), connOf('x'))
  t.same([a.requests.length, a.closes.length, network.sessions], [2, 1, 0])
  await client.close(background(), connOf('never seen'))
})

t.test('going elsewhere closes at the old place first', async (t) => {
  const { network, serve, request } = await world()
  const a = serve('mem://a')
  const b = serve('mem://b')
  await request('mem://a')
  await request('mem://b')
  t.same([a.closes.length, b.requests.length, b.closes.length, network.sessions], [1, 1, 0, 1])
})

t.test('a new place that cannot be reached is no reason to leave the old one', async (t) => {
  const { network, serve, request } = await world()
  const a = serve('mem://a')
  await request('mem://a')
  await t.rejects(request('mem://nowhere'), { code: 'UNAVAILABLE' })
  t.same([a.closes.length, network.sessions], [0, 1])
  await request('mem://a')
  t.equal(a.requests.length, 2)
})

t.test('an old place that is gone makes one Request fail, the next starts fresh', async (t) => {
  const { serve, request, network } = await world()
  const a = serve('mem://a')
  const b = serve('mem://b')
  await request('mem://a')
  a.kill()
  await t.rejects(request('mem://b'), { code: 'UNAVAILABLE' })
  await request('mem://b')
  t.same([b.requests.length, network.sessions], [1, 1])
})

t.test('elements behind forget a connection whose next hop is gone', async (t) => {
  const { serve, request, client, network, behind } = await world()
  const a = serve('mem://a')
  serve('mem://b')
  await request('mem://a', 'closed')
  await request('mem://a', 'moved')
  a.kill()
  await t.rejects(client.close(background(), connOf('closed')), { code: 'UNAVAILABLE' })
  await t.rejects(request('mem://b', 'moved'), { code: 'UNAVAILABLE' })
  t.same(
    behind.closes.map(({ id }) => id),
    ['closed', 'moved'],
  )
  t.equal(network.sessions, 0)
})

t.test('a Request that fails gives its session back and keeps the old one', async (t) => {
  const { serve, request, client, network } = await world()
  const { state, element } = refusing()
  serve('mem://a', element)
  await t.rejects(request('mem://a'), { code: 'UNAVAILABLE' })
  await t.rejects(request('mem://nowhere'), { code: 'UNAVAILABLE' })
  t.equal(network.sessions, 0)
  state.on = false
  await request('mem://a')
  state.on = true
  await t.rejects(request('mem://a'), { code: 'UNAVAILABLE' })
  t.equal(network.sessions, 1)
  await t.rejects(client.close(background(), connOf('x')), { code: 'UNAVAILABLE' })
  t.equal(network.sessions, 0)
})

t.test('a session that has ended is dialled anew for Close', async (t) => {
  const { serve, request, client, network } = await world()
  serve('mem://a').kill()
  const first = serve('mem://a')
  await request('mem://a')
  first.kill()
  const second = serve('mem://a')
  await client.close(background(), connOf('x'))
  t.same([second.closes.length, network.sessions], [1, 0])
})

t.test('a Close asks for its URL when the session is gone, not before', async (t) => {
  const { serve, request, client } = await world()
  const first = serve('mem://a')
  const b = serve('mem://b')
  let asked = 0
  const found = async (): Promise<string> => {
    asked += 1
    return 'mem://b'
  }
  const ctx = withValue(background(), closeUrl, found)
  await request('mem://a')
  await client.close(ctx, connOf('x'))
  t.same([first.closes.length, asked], [1, 0])
  await request('mem://a')
  first.kill()
  await client.close(ctx, connOf('x'))
  await client.close(ctx, connOf('never seen'))
  t.same([b.closes.length, asked], [2, 2])
})

t.test('without the elements before it, it says so', async (t) => {
  const { client } = await world()
  await t.rejects(client.request(background(), { connection: connOf('x'), mechanismPreferences: [] }), {
    code: 'INTERNAL',
  })
  t.throws(() => remoteOfCall(background()), { code: 'INTERNAL' })
})
