import { setTimeout as sleep } from 'node:timers/promises'
import { readAnswer, writeQuery, type Query } from '@nsm/sdk/dns/message.js'
import { resolver, type Resolver } from '@nsm/sdk/dns/resolver.js'
import { dnsServer } from '@nsm/sdk/dns/server.js'
import { dnsView } from '@nsm/sdk/dns/view.js'
import { createSocket } from 'node:dgram'
import t, { type Test } from 'tap'
import { a, dnsScript, type Script } from '../../kit/dns-server.js'

/** Each test has addresses of its own, so that all can run at once on one port. */
let next = 10 + (process.pid % 200) * 256 * 16
const address = (): string => {
  next += 1
  return `127.${(next >> 16) & 255}.${(next >> 8) & 255}.${next & 255 || 1}`
}
const port = 5300
const nx = { rcode: 3 }

async function servers(t: Test, ...scripts: Script[]): Promise<{ addresses: string[]; seen: string[][] }> {
  const started = await Promise.all(scripts.map((script) => dnsScript(t, address(), port, script)))
  return { addresses: started.map((server) => server.address), seen: started.map(({ seen }) => seen) }
}

function start(
  t: Test,
  addresses: string[],
  options: { timeoutMs?: number; search?: string[] } = {},
): Resolver {
  const view = dnsView({ servers: addresses, search: options.search ?? [] }, [])
  const made = resolver(view, { port, timeoutMs: options.timeoutMs ?? 2_000, searchBelowDots: 1 })
  t.teardown(() => made.close())
  return made
}

function query(name: string, type = 'A'): Query {
  const asked = name.replace(/\.$/, '')
  return {
    id: 1,
    name: `${asked.toLowerCase()}.`,
    asked,
    type,
    recursionDesired: true,
    wantsDnssec: false,
    hasEdns: false,
    wantsOrigin: false,
    udpBytes: 512,
  }
}

const quiet = new AbortController().signal
const know =
  (name: string, data: string, delayMs = 0): Script =>
  async (asked) => {
    if (delayMs > 0) await sleep(delayMs)
    return asked === name ? { answers: [a(asked, data)] } : nx
  }

t.test('a server that knows beats one that says no sooner', async (t) => {
  const { addresses } = await servers(t, () => nx, know('db.test', '10.1.1.1', 100))
  const { reply, server } = await start(t, addresses).resolve(query('db.test'), quiet)
  t.match(reply.answers, [{ data: '10.1.1.1' }])
  t.equal(server, addresses[1])
})

t.test('no such name only when all who may know said so', async (t) => {
  const { addresses } = await servers(
    t,
    () => nx,
    () => nx,
  )
  t.equal((await start(t, addresses).resolve(query('x.test'), quiet)).reply.rcode, 'NXDOMAIN')
})

t.test('a failing server never hides the one that knows, and is named', async (t) => {
  const { addresses } = await servers(t, () => ({ rcode: 2 }), know('db.test', '10.1.1.1', 50))
  const made = start(t, addresses)
  t.match((await made.resolve(query('db.test'), quiet)).reply.answers, [{ data: '10.1.1.1' }])
  t.equal((await made.resolve(query('none.test'), quiet)).reply.rcode, 'SERVFAIL', 'it might have known')
  t.match(made.servers()[0]?.health.lastError, /SERVFAIL/)
})

t.test('random letters of a question do not show in its answer', async (t) => {
  const { addresses } = await servers(t, (_name, _type, query) => {
    const asked = query.questions?.[0]?.name ?? ''
    return { answers: [a(asked, '10.1.1.1')] }
  })
  const long = 'a-long-name-with-many-letters.and-more-of-them.test'
  t.match((await start(t, addresses).resolve(query(long), quiet)).reply.answers, [{ name: long }])
})

t.test('one that refuses does not know, and is not in trouble', async (t) => {
  const refuse = () => ({ rcode: 5 })
  const { addresses } = await servers(t, refuse, know('db.test', '10.1.1.1', 50))
  const made = start(t, addresses)
  t.match((await made.resolve(query('db.test'), quiet)).reply.answers, [{ data: '10.1.1.1' }])
  t.equal((await made.resolve(query('none.test'), quiet)).reply.rcode, 'NXDOMAIN')
  t.equal(made.servers()[0]?.health.lastError, undefined)
})

t.test('a dead server costs the known names nothing, and the unknown ones only at first', async (t) => {
  const { addresses } = await servers(t, know('db.test', '10.1.1.1'))
  const made = start(t, [address(), ...addresses], { timeoutMs: 300 })
  t.match((await made.resolve(query('db.test'), quiet)).reply.answers, [{ data: '10.1.1.1' }])
  t.equal((await made.resolve(query('one.test'), quiet)).reply.rcode, 'NXDOMAIN')
  t.equal((await made.resolve(query('two.test'), quiet)).reply.rcode, 'NXDOMAIN')
  const dead = made.servers()[0]
  t.ok((dead?.health.failures ?? 0) >= 2, 'known to be dead')
  // Were it waited for, this would take the time-out; whoever answers first shows that it is not.
  const winner = await Promise.race([
    made.resolve(query('three.test'), quiet).then(({ reply }) => reply.rcode),
    sleep(10_000, 'waited', { ref: false }),
  ])
  t.equal(winner, 'NXDOMAIN')
})

t.test('a black hole alone is a failure, in time', async (t) => {
  const { addresses } = await servers(t, () => undefined)
  t.equal(
    (await start(t, addresses, { timeoutMs: 100 }).resolve(query('x.test'), quiet)).reply.rcode,
    'SERVFAIL',
  )
})

t.test('one server that answers again is waited for again', async (t) => {
  let alive = false
  const { addresses } = await servers(t, () =>
    alive ? { answers: [a('late.test', '10.2.2.2')] } : undefined,
  )
  const made = start(t, addresses, { timeoutMs: 100 })
  for (const name of ['a.test', 'b.test', 'c.test']) await made.resolve(query(name), quiet)
  alive = true
  t.match((await made.resolve(query('late.test'), quiet)).reply.answers, [{ data: '10.2.2.2' }])
  t.equal(made.servers()[0]?.health.failures, 0)
})

t.test('a name with addresses of the other family only exists', async (t) => {
  const aaaa = { name: 'six.test', type: 'AAAA' as const, ttl: 30, data: '2001:db8::1' }
  const { addresses } = await servers(
    t,
    () => nx,
    (_name, type) => (type === 'AAAA' ? { answers: [aaaa] } : {}),
  )
  const made = start(t, addresses)
  const plain = (await made.resolve(query('six.test'), quiet)).reply
  t.equal(plain.rcode, 'NOERROR')
  t.equal(plain.answers.length, 0)
  t.match((await made.resolve(query('six.test', 'AAAA'), quiet)).reply.answers, [{ data: '2001:db8::1' }])
})

t.test('an answer cut over UDP is fetched over TCP, 64 KiB of it', async (t) => {
  const data = Array.from({ length: 240 }, () => Buffer.alloc(255, 'x'))
  const { addresses, seen } = await servers(t, (name) => ({
    truncated: true,
    answers: [{ name, type: 'TXT', ttl: 30, data }],
  }))
  const { reply } = await start(t, addresses).resolve(query('big.test', 'TXT'), quiet)
  t.match(reply.answers, [{ type: 'TXT' }])
  t.same(seen[0], ['big.test TXT udp', 'big.test TXT tcp'])
})

t.test('answers live in the cache for their time, and go with their servers', async (t) => {
  const { addresses, seen } = await servers(t, (name) => ({ answers: [a(name, '10.1.1.1')] }))
  const made = start(t, addresses)
  t.equal((await made.resolve(query('x.test'), quiet)).source, 'server')
  t.equal((await made.resolve(query('X.test'), quiet)).source, 'cache')
  t.equal(seen[0]?.length, 1)
  made.setView(dnsView({ servers: addresses, search: [] }, []))
  t.equal((await made.resolve(query('x.test'), quiet)).source, 'server')
})

t.test('equal questions at one time are one', async (t) => {
  const { addresses, seen } = await servers(t, know('x.test', '10.1.1.1', 100))
  const made = start(t, addresses)
  const all = await Promise.all(Array.from({ length: 50 }, () => made.resolve(query('x.test'), quiet)))
  t.ok(all.every(({ reply }) => reply.answers.length === 1))
  t.equal(seen[0]?.length, 1)
})

t.test(
  'a short name is tried with the search list, and answered under the name that was asked',
  async (t) => {
    const { addresses } = await servers(t, know('db.my.service', '10.3.3.3'))
    const made = start(t, addresses, { search: ['cluster.local', 'my.service'] })
    t.match((await made.resolve(query('DB'), quiet)).reply.answers, [{ name: 'DB', data: '10.3.3.3' }])
    t.equal(
      (await made.resolve(query('db.other'), quiet)).reply.rcode,
      'NXDOMAIN',
      'dotted names are taken as they are',
    )
  },
)

t.test('forged and broken answers are not taken', async (t) => {
  const pointerLoop = Buffer.from(
    '000081800001000100000000' + '0178047465737400' + '00010001' + 'c00c' + '0001',
    'hex',
  )
  pointerLoop.writeUInt16BE(0xc018, pointerLoop.length - 4)
  const { addresses } = await servers(t, () => ({ raw: pointerLoop }), know('x.test', '10.1.1.1', 50))
  t.match((await start(t, addresses).resolve(query('x.test'), quiet)).reply.answers, [{ data: '10.1.1.1' }])
})

t.test('a service that leaves while questions run fails none that another can answer', async (t) => {
  const { addresses } = await servers(t, know('x.test', '10.1.1.1', 20), know('x.test', '10.1.1.2', 20))
  const made = start(t, addresses)
  const running = Array.from({ length: 40 }, async (_, i) => {
    await sleep(i)
    if (i === 20) made.setView(dnsView({ servers: addresses.slice(1), search: [] }, []))
    return (await made.resolve(query('x.test'), quiet)).reply.rcode
  })
  t.same(new Set(await Promise.all(running)), new Set(['NOERROR']))
})

t.test('over the wire: hostile questions are refused or dropped, and the next one is answered', async (t) => {
  const { addresses } = await servers(t, know('x.test', '10.1.1.1'))
  const made = start(t, addresses)
  const local = await dnsServer(
    '127.0.0.1',
    0,
    async (asked, signal) => (await made.resolve(asked, signal)).reply,
  )
  t.teardown(() => local.close())
  const socket = createSocket('udp4')
  t.teardown(() => new Promise<void>((resolve) => socket.close(() => resolve())))
  const ask = (message: Buffer): Promise<Buffer> =>
    new Promise((resolve) => {
      socket.once('message', resolve)
      socket.send(message, local.port, '127.0.0.1')
    })
  const header = '0001' + '0100' + '0001' + '0000' + '0000' + '0000'
  const hostile = [
    Buffer.from(header + 'c00c' + '00010001', 'hex'),
    Buffer.from(header + '40' + '61'.repeat(64) + '00' + '00010001', 'hex'),
    Buffer.concat([
      Buffer.from(header, 'hex'),
      Buffer.from(`3f${'61'.repeat(63)}`.repeat(5) + '0000010001', 'hex'),
    ]),
    Buffer.from('0001' + '0100' + '0002' + '0000' + '0000' + '0000', 'hex'),
  ]
  for (const message of hostile) t.equal((await ask(message)).readUInt16BE(2) & 15, 1, 'FORMERR')
  t.equal(
    (await ask(Buffer.from('0001280000010000000000000000010001', 'hex'))).readUInt16BE(2) & 15,
    4,
    'NOTIMP',
  )
  socket.send(Buffer.from('00'), local.port, '127.0.0.1')
  t.match(readAnswer(await ask(writeQuery(7, 'x.test', 'A', { wantsDnssec: false }))).answers, [
    { data: '10.1.1.1' },
  ])
})
