import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { dnsContext } from '@nsm/sdk/elements/dns-context.js'
import t from 'tap'
import { withoutUnknown } from '../../kit/messages.js'

const mine = { dnsServerIps: ['172.16.1.100'], searchDomains: ['my.coredns.service'] }
const theirs = { dnsServerIps: ['10.0.0.1'], searchDomains: [] }

t.test('configurations go behind those that came, once', async (t) => {
  const service = chain([dnsContext([mine])])
  const req = NetworkServiceRequest.fromPartial({
    connection: { id: 'a', context: { MTU: 9, dnsContext: { configs: [theirs] } } },
  })
  const conn = await service.request(background(), req)
  t.same(withoutUnknown(conn.context?.dnsContext?.configs), [theirs, mine])
  t.equal(conn.context?.MTU, 9)
  const refreshed = await service.request(
    background(),
    NetworkServiceRequest.fromPartial({ connection: conn }),
  )
  t.same(withoutUnknown(refreshed.context?.dnsContext?.configs), [theirs, mine])
})

t.test('fields that a newer peer adds stay', async (t) => {
  const { connection } = NetworkServiceRequest.fromPartial({
    connection: { id: 'a', context: { dnsContext: {} } },
  })
  const unknown = { 802: [Uint8Array.of(1)] }
  const dns = { configs: [], _unknownFields: unknown }
  const context = connection?.context && { ...connection.context, dnsContext: dns, _unknownFields: unknown }
  const req = { connection: connection && { ...connection, context }, mechanismPreferences: [] }
  const conn = await chain([dnsContext([mine])]).request(background(), req)
  t.match(conn.context, { _unknownFields: unknown, dnsContext: { _unknownFields: unknown, configs: [mine] } })
})

t.test('an endpoint without configurations leaves the context alone', async (t) => {
  const conn = await chain([dnsContext([])]).request(
    background(),
    NetworkServiceRequest.fromPartial({ connection: { id: 'a' } }),
  )
  t.equal(conn.context, undefined)
})
