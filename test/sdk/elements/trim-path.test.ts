import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background, valueOf } from '@nsm/sdk/ctx.js'
import { furtherCall, trimPath } from '@nsm/sdk/elements/trim-path.js'
import t from 'tap'
import { ask, mesh, within } from '../../kit/mesh.ts'

const connection = Connection.fromPartial({
  id: 'b',
  path: { index: 1, pathSegments: [{ name: 'a' }, { name: 'b' }, { name: 'old' }] },
})

const names = (conn: Connection) => conn.path?.pathSegments.map(({ name }) => name)

t.test('a tail that nobody stands for is cut off, one that somebody does is not', async (t) => {
  const request = { connection, mechanismPreferences: [] }
  t.same(names(await chain([trimPath()]).request(background(), request)), ['a', 'b'])
  const further = chain([
    trimPath(),
    {
      name: 'further',
      request(ctx, req, next) {
        Object.assign(valueOf(ctx, furtherCall) ?? {}, { made: true })
        return next.request(ctx, req)
      },
    },
  ])
  t.same(names(await further.request(background(), request)), ['a', 'b', 'old'])
})

t.test('after a reroute to a shorter way the old tail is gone', async (t) => {
  const m = await mesh(t)
  m.hop('nse')
  m.hop('forwarder', 'nse')
  const first = m.hop('nsmgr', 'forwarder')
  const conn = await m.client('nsmgr').request(within(), ask())
  t.same(names(conn), ['client', 'nsmgr', 'forwarder', 'nse'])
  first.kill()
  m.hop('nsmgr', 'nse')
  const again = await m.client('nsmgr').request(within(), { ...ask(), connection: conn })
  t.same(names(again), ['client', 'nsmgr', 'nse'])
})
