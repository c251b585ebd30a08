import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, tail, type NetworkService } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { keepNames } from '@nsm/sidecar/keep-names.js'
import type { DNSConfig } from '@nsm/api/gen/connectioncontext.js'
import t from 'tap'

const config: DNSConfig = { dnsServerIps: ['172.16.1.100'], searchDomains: ['db.test'] }
const request = (configs: readonly DNSConfig[] = []) =>
  NetworkServiceRequest.fromPartial({
    connection: { id: 'a', context: { dnsContext: { configs: [...configs] } } },
  })

function world(end: NetworkService) {
  const said: [string, readonly DNSConfig[]][] = []
  const dns = { set: async (id: string, given: readonly DNSConfig[]) => void said.push([id, given]) }
  return { said, service: chain([keepNames(dns)], end) }
}

t.test('an answer’s names are taken, a closed connection’s are given back first', async (t) => {
  const order: string[] = []
  const { said, service } = world({
    request: async () => request([config]).connection!,
    close: async () => void order.push(`closed after ${said.length}`),
  })
  const conn = await service.request(background(), request())
  t.match(said, [['a', [config]]])
  await service.close(background(), conn)
  t.match(said.at(-1), ['a', []])
  t.same(order, ['closed after 2'])
})

t.test('requests carry no names: those of an endpoint that has gone would stay', async (t) => {
  const { said, service } = world(tail)
  const conn = await service.request(background(), request([config]))
  t.same(conn.context?.dnsContext?.configs ?? [], [])
  t.same(said, [['a', []]])
})

t.test('a refused refresh leaves the names', async (t) => {
  const { said, service } = world({
    ...tail,
    request: async () => {
      throw new NsmError('UNAVAILABLE', 'not now')
    },
  })
  await t.rejects(service.request(background(), request()), { code: 'UNAVAILABLE' })
  t.same(said, [])
})
