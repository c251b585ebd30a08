import { State } from '@nsm/api/gen/connection.js'
import t from 'tap'
import { recording } from '../../kit/elements.ts'
import { ask, mesh, within } from '../../kit/mesh.ts'
import { until } from '../../kit/until.ts'

const audienceOf = (token: string): string[] =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).aud
const subjectOf = (token: string): string =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).sub

t.test('a request goes down the path and its answer comes back with a chain of tokens', async (t) => {
  const m = await mesh(t)
  m.hop('nse')
  m.hop('forwarder', 'nse')
  m.hop('nsmgr', 'forwarder')
  const client = m.client('nsmgr', { authorize: true })
  const conn = await client.request(within(), ask())

  t.equal(conn.id, 'client-0')
  t.equal(conn.state, State.UP)
  t.equal(conn.path?.index, 0)
  const segments = conn.path?.pathSegments ?? []
  t.same(
    segments.map(({ name }) => name),
    ['client', 'nsmgr', 'forwarder', 'nse'],
  )
  t.equal(new Set(segments.map(({ id }) => id)).size, 4)
  t.ok(segments.every(({ expires }) => expires !== undefined && expires.getTime() > Date.now()))
  for (const [i, segment] of segments.slice(0, -1).entries()) {
    t.match(audienceOf(segment.token), [subjectOf(segments[i + 1]?.token ?? '')])
  }
  await client.close(within(), conn)
  t.equal(m.network.sessions, 0, 'no session is left')
})

t.test('a refresh keeps all ids, and Close goes down with the stored connection', async (t) => {
  const m = await mesh(t)
  const seen = recording()
  const nse = m.hop('nse', undefined, { elements: [seen.element] })
  m.hop('nsmgr', 'nse')
  const client = m.client('nsmgr')
  const first = await client.request(within(), ask())
  const second = await client.request(within(), { ...ask(), connection: first })
  t.same(
    second.path?.pathSegments.map(({ id }) => id),
    first.path?.pathSegments.map(({ id }) => id),
  )
  t.same(nse.counts(), { up: 1, down: 0 })
  await client.close(within(), { ...second, networkService: 'changed by the caller' })
  t.equal(seen.closes[0]?.networkService, 'web')
  t.same(nse.counts(), { up: 0, down: 0 })
})

t.test('a hop that dies is told to the client as DOWN', async (t) => {
  const m = await mesh(t)
  const nse = m.hop('nse')
  m.hop('forwarder', 'nse')
  const nsmgr = m.hop('nsmgr', 'forwarder')
  await m.client('nsmgr').request(within(), ask())
  nse.kill()
  await until('nsmgr knows', () => nsmgr.counts().down === 1)
  t.equal(nsmgr.counts().up, 0)
})
