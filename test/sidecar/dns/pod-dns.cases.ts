import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { upstream, type Upstream } from '@nsm/sdk/dns/upstream.js'
import { silent } from '@nsm/sdk/log.js'
import { metricsText } from '@nsm/sdk/process/metrics-text.js'
import { openPodDns, type PodDns, type PodDnsOptions } from '@nsm/sidecar/dns/pod-dns.js'
import t, { type Test } from 'tap'
import { a, dnsScript, type Script } from '../../kit/dns-server.js'
import { until } from '../../kit/until.js'

const serverPort = 5300
const cluster = '198.18.0.9'
const original = `nameserver ${cluster}\nsearch default.svc.cluster.local cluster.local\noptions ndots:5\n`
const db = { dnsServerIps: ['198.18.0.1'], searchDomains: ['db.test'] }
const elsewhere = { ...db, dnsServerIps: ['203.0.113.1'] }
const nx = { rcode: 3 }
const know =
  (...pairs: readonly (readonly [string, string])[]): Script =>
  (name) => {
    const found = pairs.find(([known]) => known === name)
    return found === undefined ? nx : { answers: [a(name, found[1], 1)] }
  }

async function world(t: Test, more: Partial<PodDnsOptions> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'pod-dns-'))
  const path = join(folder, 'resolv.conf')
  await writeFile(path, original)
  const options: PodDnsOptions = {
    mode: 'embedded',
    listenOn: { host: '127.0.0.1', port: 53 },
    resolvConfPath: path,
    clusterServers: [],
    corefilePath: join(folder, 'Corefile'),
    corefile: { metrics: ':9153' },
    timeoutMs: 500,
    serverPort,
    ...more,
  }
  const dns = await openPodDns(options, silent)
  t.teardown(async () => {
    await dns.close()
    await rm(folder, { recursive: true })
  })
  return { dns, options, folder, conf: () => readFile(path, 'utf8') }
}

async function asked(name: string, type = 'A', at = '127.0.0.1') {
  const one: Upstream = upstream(at, { port: 53, timeoutMs: 3_000 })
  try {
    const answer = await one.ask(
      { name, type, wantsDnssec: false, wantsOrigin: true },
      new AbortController().signal,
    )
    const data = answer.answers.map((record) => ('data' in record ? record.data : undefined))
    return { rcode: answer.rcode, data, origin: answer.origin }
  } finally {
    one.close()
  }
}

t.test('while no service brings names nothing is touched and nothing listens', async (t) => {
  const { dns, conf } = await world(t)
  await dns.set('a', [])
  t.equal(await conf(), original)
  t.match(dns.status(), { mode: 'embedded', state: 'idle', servers: [] })
  await t.rejects(asked('x.test.'))
})

t.test('names come with a connection and go with it; the cluster’s resolve all the time', async (t) => {
  await dnsScript(t, '198.18.0.1', serverPort, know(['db.test', '172.16.1.5'], ['one.db.test', '172.16.1.6']))
  await dnsScript(t, cluster, serverPort, know(['web.default.svc.cluster.local', '10.0.0.7']))
  const { dns, conf } = await world(t)
  await dns.set('a', [db])
  t.equal(dns.status().state, 'serving')
  const taken = await conf()
  t.match(
    taken,
    '\nnameserver 127.0.0.1\nsearch default.svc.cluster.local cluster.local db.test\noptions ndots:5\n',
  )
  t.match(await asked('one.db.test.'), { data: ['172.16.1.6'], origin: '198.18.0.1' })
  t.match(await asked('db.test.', 'A', '::1'), { data: ['172.16.1.5'] })
  t.match(await asked('web.default.svc.cluster.local.'), { data: ['10.0.0.7'], origin: cluster })
  t.match(await asked('nobody.example.'), { rcode: 'NXDOMAIN' })
  const shown = metricsText(dns.metrics).text()
  t.match(await shown, /nsm_dns_query_total\{result="noerror",source="server"\} 3/)
  t.match(await shown, /nsm_dns_query_duration_seconds_count 4/)
  t.match(await shown, /nsm_dns_server_win_total\{server="198.18.0.1"\} [23]/)
  await dns.set('a', [])
  t.equal(await conf(), original)
  t.match(
    await asked('web.default.svc.cluster.local.'),
    { data: ['10.0.0.7'] },
    'for programs that read the file before',
  )
})

t.test('it ends with the file as it was, and so does a start after a kill', async (t) => {
  const { dns, conf, options } = await world(t)
  await dns.set('a', [db])
  t.not(await conf(), original)
  const killed = await conf()
  await dns.close()
  t.equal(await conf(), original)
  await writeFile(options.resolvConfPath, killed)
  const next = await openPodDns(options, silent)
  t.teardown(() => next.close())
  t.equal(await conf(), original)
})

t.test('two services with one domain; one leaves while queries run, and none fails', async (t) => {
  for (const at of ['198.18.0.1', '198.18.0.2'])
    await dnsScript(t, at, serverPort, async (name) => {
      await sleep(5)
      return { answers: [a(name, '172.16.1.5', 0)] }
    })
  const { dns } = await world(t)
  await dns.set('a', [db])
  await dns.set('b', [{ ...db, dnsServerIps: ['198.18.0.2'] }])
  t.same(dns.status().zones[0], { domain: 'db.test.', servers: ['198.18.0.1', '198.18.0.2'] })
  const answers = await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      await sleep(i)
      if (i === 30) await dns.set('a', [])
      return (await asked(`n${i}.db.test.`)).rcode
    }),
  )
  t.same(new Set(answers), new Set(['NOERROR']))
  t.same(dns.status().zones[0]?.servers, ['198.18.0.2'])
})

t.test('it never asks itself, whatever a service says', async (t) => {
  const { dns } = await world(t)
  const loops = ['127.0.0.1', '::1', '127.1.2.3', '::ffff:127.0.0.1', '0:0:0:0:0:0:0:1', '0.0.0.0', '::']
  await dns.set('a', [{ dnsServerIps: loops, searchDomains: ['loop.test'] }])
  t.match(dns.status(), { state: 'idle', zones: [{ domain: '.', servers: [cluster] }] })
})

t.test('a service cannot take the cluster’s names away', async (t) => {
  await dnsScript(t, '198.18.0.1', serverPort, () => nx)
  await dnsScript(t, cluster, serverPort, know(['web.default.svc.cluster.local', '10.0.0.7']))
  const { dns } = await world(t)
  for (const domain of ['cluster.local', 'svc.cluster.local', 'default.svc.cluster.local', 'local']) {
    await dns.set('a', [{ dnsServerIps: ['198.18.0.1'], searchDomains: [domain] }])
    t.match(await asked('web.default.svc.cluster.local.'), { data: ['10.0.0.7'] }, domain)
  }
})

t.test('a port that is taken is told, and the pod resolves as it did', async (t) => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(53, '127.0.0.1', resolve))
  const { dns, conf } = await world(t)
  await dns.set('a', [db])
  t.match(dns.status(), { state: 'failed', message: 'another process of the pod listens on 127.0.0.1:53' })
  t.equal(await conf(), original)
  await new Promise((resolve) => other.close(resolve))
  await dns.changed()
  t.equal(dns.status().state, 'serving')
})

t.test('a resolv.conf that is not there is told', async (t) => {
  const { dns } = await world(t, { resolvConfPath: '/nonexistent/resolv.conf' })
  await dns.set('a', [db])
  t.match(dns.status(), { state: 'failed', message: /nonexistent/ })
})

t.test('CoreDNS gets its configuration only when it changes, and names when it answers', async (t) => {
  const { dns, conf, options } = await world(t, { mode: 'coredns' })
  // CoreDNS listens on every address of the pod: a server on one of those is never asked.
  await dns.set('c', [db])
  const inode = async (): Promise<number> => (await stat(options.corefilePath)).ino
  const before = await inode()
  t.notMatch(await readFile(options.corefilePath, 'utf8'), 'db.test')
  await dns.set('a', [elsewhere])
  t.equal(dns.status().state, 'waiting')
  t.equal(await conf(), original, 'nobody would answer yet')
  t.match(await readFile(options.corefilePath, 'utf8'), 'db.test:53 {')
  const written = await inode()
  t.not(written, before, 'replaced at once, not written over')
  const coredns = createServer((socket) => socket.destroy())
  t.teardown(() => new Promise((resolve) => coredns.close(resolve)))
  await new Promise<void>((resolve) => coredns.listen(53, '127.0.0.1', resolve))
  await until('the file points to it', () => dns.status().state === 'serving')
  t.match(await conf(), 'nameserver 127.0.0.1')
  await dns.set('b', [elsewhere])
  t.equal(await inode(), written, 'the same text is not written again')
  for (const id of ['a', 'b', 'c']) await dns.set(id, [])
  t.equal(await conf(), original)
})

t.test('a pod whose spec points here: nothing is written, short names of services resolve', async (t) => {
  await dnsScript(t, '198.18.0.1', serverPort, know(['one.db.test', '172.16.1.6']))
  await dnsScript(t, cluster, serverPort, know(['web.default.svc.cluster.local', '10.0.0.7']))
  const folder = await mkdtemp(join(tmpdir(), 'pod-dns-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 'resolv.conf')
  const bySpec = 'nameserver 127.0.0.1\nsearch default.svc.cluster.local cluster.local\noptions ndots:5\n'
  await writeFile(path, bySpec)
  const { dns } = await world(t, { resolvConfPath: path, clusterServers: [cluster] })
  t.match(await asked('web.default.svc.cluster.local.'), { data: ['10.0.0.7'] }, 'before any service')
  await dns.set('a', [db])
  t.match(await asked('one.'), { data: ['172.16.1.6'] })
  t.match(await asked('one.db.test.'), { data: ['172.16.1.6'] })
  t.match(await asked('one.default.svc.cluster.local.'), { rcode: 'NXDOMAIN' })
  t.equal(await readFile(path, 'utf8'), bySpec)
})

t.test('ten thousand queries at once, none lost', { timeout: 60_000 }, async (t) => {
  await dnsScript(t, '198.18.0.1', serverPort, (name) => ({ answers: [a(name, '172.16.1.5', 60)] }))
  const { dns } = await world(t)
  await dns.set('a', [db])
  const pod = upstream('127.0.0.1', { port: 53, timeoutMs: 20_000 })
  t.teardown(() => pod.close())
  let next = 0
  let good = 0
  const lane = async (): Promise<void> => {
    while (next < 10_000) {
      const name = `n${next++ % 1_000}.db.test.`
      const { rcode } = await pod.ask({ name, type: 'A', wantsDnssec: false })
      if (rcode === 'NOERROR') good += 1
    }
  }
  await Promise.all(Array.from({ length: 200 }, lane))
  t.equal(good, 10_000)
})

t.test('connections in any order give the same configuration', async (t) => {
  const texts = []
  const queue = { dnsServerIps: ['198.18.0.2'], searchDomains: ['queue.test'] }
  for (const order of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    const made = await world(t, { mode: 'coredns' })
    for (const id of order) await (made.dns satisfies PodDns).set(id, [id === 'a' ? db : queue])
    texts.push(await readFile(made.options.corefilePath, 'utf8'))
  }
  t.equal(texts[0], texts[1])
})
