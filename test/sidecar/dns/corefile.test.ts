import { readFile, writeFile } from 'node:fs/promises'
import { corefile } from '@nsm/sidecar/dns/corefile.js'
import { dnsView } from '@nsm/sdk/dns/view.js'
import t from 'tap'

/** `UPDATE_GOLDEN=1` writes what is made now; the difference is then read by a person. */
const golden = new URL('../../../sidecar/dns/golden/', import.meta.url)

const origin = { servers: ['10.96.0.10'], search: ['default.svc.cluster.local'] }
const cases = {
  none: dnsView(origin, []),
  one: dnsView(origin, [[{ dnsServerIps: ['172.16.1.100'], searchDomains: ['my.coredns.service'] }]]),
  several: dnsView(origin, [
    [{ dnsServerIps: ['172.16.1.100'], searchDomains: ['db.test', 'db2.test'] }],
    [{ dnsServerIps: ['172.16.2.100', '172.16.2.101'], searchDomains: ['queue.test'] }],
  ]),
  conflicting: dnsView(origin, [
    [{ dnsServerIps: ['172.16.2.100'], searchDomains: ['shared.test', 'own.test'] }],
    [{ dnsServerIps: ['172.16.1.100'], searchDomains: ['shared.test'] }],
  ]),
  ipv6: dnsView({ servers: ['fd00::a'], search: [] }, [
    [{ dnsServerIps: ['2001:db8::1'], searchDomains: ['six.test'] }],
  ]),
  'dual-stack': dnsView({ servers: ['10.96.0.10', 'fd00::a'], search: [] }, [
    [{ dnsServerIps: ['172.16.1.100', '2001:db8::1'], searchDomains: ['both.test'] }],
  ]),
}

/** All that the small CoreDNS image understands. */
const compiledIn = new Set(['cache', 'fanout', 'log', 'prometheus', 'reload'])

for (const [name, view] of Object.entries(cases)) {
  t.test(`golden file: ${name}`, async (t) => {
    const file = new URL(`${name}.corefile`, golden)
    const text = corefile(view)
    if (process.env['UPDATE_GOLDEN'] !== undefined) await writeFile(file, text)
    t.equal(text, await readFile(file, 'utf8'))
    for (const line of text.split('\n')) {
      const directive = /^ {4}(\w+)/.exec(line)?.[1]
      if (directive !== undefined) t.ok(compiledIn.has(directive), `${directive} is compiled in`)
    }
    const zones = [...text.matchAll(/^(\S.*) \{$/gm)].flatMap(([, names]) => names?.split(' ') ?? [])
    t.equal(new Set(zones).size, zones.length, 'no zone stands in two blocks')
    t.notMatch(text, 'race')
  })
}

t.test('the order in which connections came does not matter', async (t) => {
  const x = [{ dnsServerIps: ['172.16.1.100'], searchDomains: ['x.test'] }]
  const y = [{ dnsServerIps: ['172.16.2.100'], searchDomains: ['y.test'] }]
  t.equal(corefile(dnsView(origin, [x, y])), corefile(dnsView(origin, [y, x])))
})
