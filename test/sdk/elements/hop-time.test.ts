import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { hopTime, hopTimeMetric, withoutHopTimes } from '@nsm/sdk/elements/hop-time.js'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.ts'
import { ask, mesh, within } from '../../kit/mesh.ts'

const old = { [hopTimeMetric]: '7.00', rx: '1' }
const connection = Connection.fromPartial({
  id: 'b',
  path: {
    index: 1,
    pathSegments: [
      { name: 'a', metrics: old },
      { name: 'b', metrics: old },
      { name: 'c', metrics: old },
    ],
  },
})
const request = { connection, mechanismPreferences: [] }
const metricsOf = (conn: Connection | undefined) => conn?.path?.pathSegments.map(({ metrics }) => metrics)

function ticking(...times: readonly number[]): () => number {
  const left = [...times]
  return () => left.shift() ?? 0
}

t.test('the own segment tells the time; what later hops said for an earlier Request goes', async (t) => {
  const seen = recording()
  const service = chain([hopTime(ticking(100, 103.456)), seen.element])
  t.strictSame(metricsOf(await service.request(background(), request)), [
    old,
    { rx: '1', [hopTimeMetric]: '3.46' },
    { rx: '1' },
  ])
  t.strictSame(metricsOf(seen.requests[0]), [old, { rx: '1' }, { rx: '1' }])
  t.strictSame(metricsOf(connection), [old, old, old], 'the request is as it was')
})

t.test('a failure stays a failure, an answer without the own segment stays as it is', async (t) => {
  await t.rejects(chain([hopTime(), refusing().element]).request(background(), request), {
    code: 'UNAVAILABLE',
  })
  const short = Connection.fromPartial({ id: 'b', path: { index: 1, pathSegments: [{ name: 'a' }] } })
  for (const answer of [short, { ...short, path: undefined }]) {
    const service = chain([hopTime(), { name: 'odd', request: async () => answer }])
    t.strictSame(await service.request(background(), request), answer)
  }
})

t.test('a connection without times is itself', async (t) => {
  const plain = Connection.fromPartial({
    id: 'b',
    path: { pathSegments: [{ name: 'a', metrics: { rx: '1' } }] },
  })
  t.equal(withoutHopTimes(plain), plain)
  t.strictSame(metricsOf(withoutHopTimes(connection)), [{ rx: '1' }, { rx: '1' }, { rx: '1' }])
})

t.test('over a whole path each hop includes those behind it; a refresh measures again', async (t) => {
  const m = await mesh(t)
  m.hop('nse')
  m.hop('forwarder', 'nse')
  m.hop('nsmgr', 'forwarder')
  const client = m.client('nsmgr')
  const first = await client.request(within(), ask())
  const again = await client.request(within(), { ...ask(), connection: first })
  for (const conn of [first, again]) {
    const [own, ...hops] = metricsOf(conn) ?? []
    t.strictSame(own, {}, 'the client itself does not tell')
    const times = hops.map((metrics) => Number(metrics[hopTimeMetric]))
    t.equal(times.length, 3)
    t.ok(times.every((ms) => ms >= 0))
    t.strictSame(
      times,
      times.toSorted((a, b) => b - a),
    )
  }
})
