import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, connectionOf, group, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import t from 'tap'

const ask = NetworkServiceRequest.fromPartial({ connection: { id: 'a' } })

t.test('elements see a call in order, and a missing method passes it on', async (t) => {
  const seen: string[] = []
  const named = (name: string): Element => ({
    name,
    async request(ctx, req, next) {
      seen.push(name)
      return next.request(ctx, req)
    },
  })
  const service = chain([named('a'), { name: 'none' }, group('inner', [named('b'), named('c')]), named('d')])
  const conn = await service.request(background(), ask)
  t.equal(conn.id, 'a')
  t.same(seen, ['a', 'b', 'c', 'd'])
  await service.close(background(), conn)
})

t.test('a request without a connection is refused', (t) => {
  t.throws(() => connectionOf(NetworkServiceRequest.fromPartial({})), { code: 'INVALID_ARGUMENT' })
  t.end()
})
