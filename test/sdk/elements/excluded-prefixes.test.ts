import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { excludedPrefixes } from '@nsm/sdk/elements/excluded-prefixes.js'
import t from 'tap'

t.test('prefixes are added behind those that came, once each, and as they are at the time', async (t) => {
  let now = ['10.96.0.0/12', '10.0.0.0/24']
  const service = chain([excludedPrefixes(() => now)])
  const req = NetworkServiceRequest.fromPartial({
    connection: {
      id: 'a',
      context: { MTU: 1400, ipContext: { excludedPrefixes: ['10.0.0.0/24'], srcIpAddrs: ['10.1.1.1/32'] } },
    },
  })
  const conn = await service.request(background(), req)
  t.match(conn.context, { MTU: 1400, ipContext: { srcIpAddrs: ['10.1.1.1/32'] } })
  t.same(conn.context?.ipContext?.excludedPrefixes, ['10.0.0.0/24', '10.96.0.0/12'])
  t.same(req.connection?.context?.ipContext?.excludedPrefixes, ['10.0.0.0/24'], 'the request is as it was')
  now = []
  const bare = await service.request(
    background(),
    NetworkServiceRequest.fromPartial({ connection: { id: 'b' } }),
  )
  t.equal(bare.context, undefined)
  now = ['::/8']
  const late = await service.request(
    background(),
    NetworkServiceRequest.fromPartial({ connection: { id: 'b' } }),
  )
  t.same(late.context?.ipContext?.excludedPrefixes, ['::/8'])
})
