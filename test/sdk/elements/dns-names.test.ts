import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type NetworkService } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { nameStore } from '@nsm/sdk/dns/name-store.js'
import { dnsNames } from '@nsm/sdk/elements/dns-names.js'
import t from 'tap'

const byPod = '{{ index .Labels "podName" }}.{{ .NetworkService }}.'
const ask = (networkService = 'vl3-dns', srcIpAddrs = ['172.16.0.2/32', '2001:db8::2/128']) =>
  NetworkServiceRequest.fromPartial({
    connection: {
      id: 'a',
      networkService,
      labels: { podName: 'alpine' },
      context: { ipContext: { srcIpAddrs } },
    },
  })

function world(templates: readonly string[], server: () => string | undefined = () => '172.16.0.1') {
  const store = nameStore()
  const service: NetworkService = chain([dnsNames({ store, templates, server })])
  const lookUp = (name: string, type = 'A') =>
    store.answer({ name, type })?.answers.map((record) => ('data' in record ? record.data : undefined))
  return { service, lookUp }
}

t.test('a client gets a name, the way back from its addresses, and the server that knows', async (t) => {
  const { service, lookUp } = world([byPod])
  const conn = await service.request(background(), ask())
  t.match(conn.context?.dnsContext?.configs, [{ dnsServerIps: ['172.16.0.1'], searchDomains: ['vl3-dns'] }])
  t.same(lookUp('alpine.vl3-dns.'), ['172.16.0.2'])
  t.same(lookUp('alpine.vl3-dns.', 'AAAA'), ['2001:db8::2'])
  t.same(lookUp('2.0.16.172.in-addr.arpa.', 'PTR'), ['alpine.vl3-dns'])
  const again = await service.request(background(), { ...ask(), connection: conn })
  t.equal(again.context?.dnsContext?.configs.length, 1)
  await service.close(background(), conn)
  t.equal(lookUp('alpine.vl3-dns.'), undefined)
})

t.test('names of other domains are taken apart by target and domain', async (t) => {
  for (const template of [
    '{{ index .Labels "podName" }}.{{ target .NetworkService }}.{{ domain .NetworkService }}.',
    '{{ index .Labels "podName" }}.{{ .NetworkService | target }}.{{ .NetworkService | domain }}.',
  ]) {
    const { service, lookUp } = world([template])
    const conn = await service.request(background(), ask('vl3@my.cluster1'))
    t.match(conn.context?.dnsContext?.configs, [{ searchDomains: ['vl3.my.cluster1'] }])
    t.same(lookUp('alpine.vl3.my.cluster1.'), ['172.16.0.2'])
  }
})

t.test('until the server is known clients have to try again', async (t) => {
  const { service } = world([byPod], () => undefined)
  await t.rejects(service.request(background(), ask()), {
    code: 'UNAVAILABLE',
    message: 'DNS address is initializing',
  })
})

t.test('a client whose labels make no name gets none', async (t) => {
  const { service, lookUp } = world([byPod])
  const { connection } = ask()
  const conn = { ...connection!, labels: { podName: 'not a name' } }
  await service.request(background(), { connection: conn, mechanismPreferences: [] })
  t.equal(lookUp('2.0.16.172.in-addr.arpa.', 'PTR')?.length ?? 0, 0)
})
