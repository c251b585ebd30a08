import { dnsView, domainName, maxServers, zoneFor } from '@nsm/sdk/dns/view.js'
import t from 'tap'

const origin = { servers: ['10.96.0.10'], search: ['default.svc.cluster.local', 'svc.cluster.local'] }
const config = (servers: string[], domains: string[] = []) => ({
  dnsServerIps: servers,
  searchDomains: domains,
})

t.test('without services the cluster answers everything', async (t) => {
  const view = dnsView(origin, [])
  t.same(view, { zones: [{ domain: '.', servers: ['10.96.0.10'] }], search: origin.search })
})

t.test('a service brings a zone of its own, and its servers are asked for the rest too', async (t) => {
  const view = dnsView(origin, [[config(['172.16.1.100'], ['my.coredns.service'])]])
  t.same(view.zones, [
    { domain: 'my.coredns.service.', servers: ['172.16.1.100'] },
    { domain: '.', servers: ['10.96.0.10', '172.16.1.100'] },
  ])
  t.same(view.search, [...origin.search, 'my.coredns.service'])
})

t.test('two services of one domain share it', async (t) => {
  const view = dnsView(origin, [
    [config(['172.16.1.1'], ['Db.Test.'])],
    [config(['172.16.2.1'], ['db.test'])],
  ])
  t.same(view.zones[0], { domain: 'db.test.', servers: ['172.16.1.1', '172.16.2.1'] })
  t.equal(view.search.filter((domain) => domain === 'db.test').length, 1)
})

t.test('the longest zone answers', async (t) => {
  const view = dnsView(origin, [[config(['1.1.1.1'], ['b.test']), config(['2.2.2.2'], ['a.b.test'])]])
  t.equal(zoneFor(view, 'x.a.b.test.')?.domain, 'a.b.test.')
  t.equal(zoneFor(view, 'b.test.')?.domain, 'b.test.')
  t.equal(zoneFor(view, 'notb.test.')?.domain, '.')
})

t.test("a peer's mistakes cost only themselves, and the resolver never asks itself", async (t) => {
  const view = dnsView(
    origin,
    [
      [
        config(
          ['172.16.1.1', 'not-an-ip', '127.0.0.1'],
          ['ok.test', 'a..b', `${'x'.repeat(64)}.test`, 'sp ace'],
        ),
      ],
    ],
    (address) => address === '127.0.0.1',
  )
  t.same(
    view.zones.map(({ domain }) => domain),
    ['ok.test.', '.'],
  )
  t.same(view.zones[0]?.servers, ['172.16.1.1'])
})

t.test('the number of servers is bounded', async (t) => {
  const many = Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)
  t.equal(dnsView(origin, [[config(many, ['x.test'])]]).zones[0]?.servers.length, maxServers)
})

t.test('what a domain may look like', async (t) => {
  t.equal(domainName('A.B.'), 'a.b.')
  t.equal(domainName('_srv.x'), '_srv.x.')
  for (const bad of ['', '.', 'a..b', '-a', 'a-', 'ü.de', 'a b', `${'a.'.repeat(127)}aaa`])
    t.equal(domainName(bad), undefined, bad)
})
