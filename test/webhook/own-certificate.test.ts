import { silent } from '@nsm/sdk/log.js'
import { keptSecret } from '@nsm/kubernetes/kept-secret.js'
import { authoritiesIn, memoryStore } from '@nsm/webhook/authorities.js'
import { bundleFile, noBundle } from '@nsm/webhook/bundle-file.js'
import { ownCertificate, type BundlePublisher, type OwnCertificate } from '@nsm/webhook/own-certificate.js'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { serverAndClient, type ServerAndClient } from '../kit/api-client.js'
import { handClock, type HandClock } from '../kit/clock.js'
import { until } from '../kit/until.js'

const start = Date.parse('2026-01-01T00:00:00Z')
const dayMs = 86_400_000
const secrets = '/api/v1/secrets'

/** Waits while the clock goes on. */
async function asTimeGoesOn(clock: HandClock, what: string, condition: () => boolean): Promise<void> {
  await until(what, () => {
    clock.advance(600_000)
    return condition()
  })
}

function rootsIn(bundle: string): X509Certificate[] {
  return bundle
    .split(/(?<=-----END CERTIFICATE-----)\s*/)
    .filter((pem) => pem !== '')
    .map((pem) => new X509Certificate(pem))
}

t.test('alone: renewed each day, its authority each year with both in the bundle', async (t) => {
  const path = join(t.testdir(), 'ca.pem')
  const clock = handClock(start)
  const certificate = await ownCertificate({
    names: ['a.b.svc'],
    store: memoryStore(),
    publisher: bundleFile(path),
    log: silent,
    clock,
  })
  t.teardown(() => certificate.close())
  const roots = (): X509Certificate[] => rootsIn(readFileSync(path, 'utf8'))
  const [first] = roots()
  const before = certificate.current
  t.match(new X509Certificate(before.cert).subjectAltName, 'DNS:a.b.svc')
  const renewal = async (hours = 16): Promise<void> => {
    const renewed = new Promise<void>((done) => certificate.onChange(() => done()))
    clock.advance(hours * 3_600_000)
    await renewed
  }
  await renewal()
  t.not(certificate.current.cert, before.cert)
  t.equal(roots().length, 1)
  while (roots().length === 1) await renewal(200)
  t.ok(clock.now() > start + 334 * dayMs, 'a month before its end')
  const both = roots()
  t.equal(both[1]?.fingerprint256, first?.fingerprint256)
  t.ok(
    new X509Certificate(certificate.current.cert).verify(both[1]!.publicKey),
    'the new one does not sign yet',
  )
  await renewal()
  t.ok(new X509Certificate(certificate.current.cert).verify(both[0]!.publicKey))
  t.ok(certificate.current.expires.getTime() > clock.now())
  while (roots().some(({ fingerprint256 }) => fingerprint256 === first?.fingerprint256)) await renewal(2_000)
  t.ok(clock.now() > Date.parse(first?.validTo ?? ''), 'the old one is gone when it has ended')
})

interface Replica {
  readonly certificate: OwnCertificate
  readonly bundle: () => string
  /** Whether publishing works. */
  reachable: boolean
}

async function withSecret(t: Test): Promise<ServerAndClient> {
  const both = await serverAndClient(t)
  const secret = { apiVersion: 'v1', kind: 'Secret' }
  both.server.store.put(secrets, { ...secret, metadata: { name: 'ca', namespace: 'nsm' } })
  return both
}

async function replica(t: Test, { client }: ServerAndClient, clock: HandClock): Promise<Replica> {
  const store = await keptSecret({ client, namespace: 'nsm', name: 'ca', log: silent })
  let published = ''
  const state = { reachable: true }
  const publisher: BundlePublisher = {
    ...noBundle,
    publish: async (bundle) => {
      if (!state.reachable) throw new Error('not reachable')
      published = bundle
    },
  }
  const certificate = await ownCertificate({ names: ['a.b.svc'], store, publisher, log: silent, clock })
  t.teardown(() => certificate.close())
  return Object.assign(state, { certificate, bundle: () => published })
}

const isSignedBy = ({ certificate }: Replica, bundle: string): boolean =>
  rootsIn(bundle).some(({ publicKey }) => new X509Certificate(certificate.current.cert).verify(publicKey))

function stored({ server }: ServerAndClient): Record<string, string> {
  return (server.store.get(secrets, 'nsm', 'ca') as unknown as { data: Record<string, string> }).data
}

t.test('two replicas that start at once on an empty Secret have one authority', async (t) => {
  const cluster = await withSecret(t)
  const clock = handClock(start)
  const [a, b] = await Promise.all([replica(t, cluster, clock), replica(t, cluster, clock)])
  t.equal(Object.keys(stored(cluster)).length, 2, 'one certificate and its key')
  t.equal(a.bundle(), b.bundle())
  t.ok(isSignedBy(a, b.bundle()) && isSignedBy(b, a.bundle()))
  t.not(a.certificate.current.key, b.certificate.current.key, 'each has a key of its own')
})

t.test('replicas that start again go on with what is there', async (t) => {
  const cluster = await withSecret(t)
  const clock = handClock(start)
  const first = await replica(t, cluster, clock)
  const before = stored(cluster)
  const [a, b] = await Promise.all([replica(t, cluster, clock), replica(t, cluster, clock)])
  t.same(stored(cluster), before)
  t.ok(isSignedBy(a, first.bundle()) && isSignedBy(b, first.bundle()))
})

t.test('eleven months later both follow one new authority', async (t) => {
  const cluster = await withSecret(t)
  const clock = handClock(start)
  const [a, b] = await Promise.all([replica(t, cluster, clock), replica(t, cluster, clock)])
  const old = a.bundle()
  clock.advance(336 * dayMs)
  await asTimeGoesOn(clock, 'both have two roots', () =>
    [a, b].every(({ bundle }) => rootsIn(bundle()).length === 2),
  )
  t.equal(a.bundle(), b.bundle())
  await asTimeGoesOn(
    clock,
    'both are signed by the new one',
    () => !isSignedBy(a, old) && !isSignedBy(b, old),
  )
  t.ok(isSignedBy(a, b.bundle()) && isSignedBy(b, a.bundle()))
})

t.test('an authority that could not be published does not sign', async (t) => {
  const cluster = await withSecret(t)
  const clock = handClock(start)
  const a = await replica(t, cluster, clock)
  const old = a.bundle()
  a.reachable = false
  clock.advance(336 * dayMs)
  await asTimeGoesOn(clock, 'there is another authority', () => Object.keys(stored(cluster)).length === 4)
  for (let day = 0; day < 3; day++) {
    const { expires } = a.certificate.current
    await asTimeGoesOn(clock, 'renewed', () => a.certificate.current.expires > expires)
    t.ok(isSignedBy(a, old))
  }
  t.equal(a.certificate.fault(), undefined)
  a.reachable = true
  await asTimeGoesOn(clock, 'signed by the new one', () => !isSignedBy(a, old))
})

t.test('nobody trusts it yet: that is told, and it is tried again', async (t) => {
  const clock = handClock(start)
  let isReachable = false
  const publisher: BundlePublisher = {
    ...noBundle,
    publish: async () => {
      if (!isReachable) throw new Error('no API server')
    },
  }
  const certificate = await ownCertificate({
    names: ['a.b.svc'],
    store: memoryStore(),
    publisher,
    log: silent,
    clock,
  })
  t.teardown(() => certificate.close())
  t.match(certificate.fault(), /not published/)
  isReachable = true
  clock.advance(60_000)
  await until('published', () => certificate.fault() === undefined)
})

for (const [what, data] of [
  ['emptied', {}],
  ['filled with garbage', { 'ca-1.crt': 'bm9uc2Vuc2U=', 'ca-1.key': 'eA==', other: 'AAEC' }],
] as const) {
  t.test(`a Secret that was ${what} gets a new authority, and all replicas follow`, async (t) => {
    const cluster = await withSecret(t)
    const { store } = cluster.server
    const clock = handClock(start)
    const [a, b] = await Promise.all([replica(t, cluster, clock), replica(t, cluster, clock)])
    const old = a.bundle()
    store.put(secrets, { ...store.get(secrets, 'nsm', 'ca')!, data })
    await until('both have another authority', () => [a, b].every((one) => one.bundle() !== old))
    await until('both are signed by it', () => isSignedBy(a, b.bundle()) && isSignedBy(b, a.bundle()))
    t.equal(a.bundle(), b.bundle())
    t.equal(Object.keys(stored(cluster)).length, 2)
  })
}

t.test('a Secret that is gone harms nobody who has a certificate', async (t) => {
  const cluster = await withSecret(t)
  const clock = handClock(start)
  const { certificate, bundle } = await replica(t, cluster, clock)
  const [before, { cert }] = [bundle(), certificate.current]
  const { store, calls } = cluster.server
  store.remove(secrets, 'nsm', 'ca')
  await until('it was asked for', () => calls.at(-1)?.path === '/api/v1/namespaces/nsm/secrets/ca')
  store.put(secrets, { kind: 'Secret', metadata: { name: 'ca', namespace: 'nsm' } })
  t.equal(certificate.current.cert, cert)
  await until('another authority is there', () => bundle() !== before)
})

t.test('certificates without their key, and those that are no authority, are passed over', async (t) => {
  const cluster = await withSecret(t)
  const { certificate } = await replica(t, cluster, handClock(start))
  const data = Object.fromEntries(
    Object.entries(stored(cluster)).map(([name, value]) => [name, Buffer.from(value, 'base64')]),
  )
  const [known] = authoritiesIn(data)
  t.ok(known)
  const { cert, key } = certificate.current
  t.same(authoritiesIn({ 'a.crt': Buffer.from(known!.cert) }), [])
  t.same(authoritiesIn({ 'a.crt': Buffer.from(known!.cert), 'a.key': Buffer.from(key) }), [])
  t.same(authoritiesIn({ 'a.crt': Buffer.from(cert), 'a.key': Buffer.from(key) }), [])
})
