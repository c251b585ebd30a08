import type { X509Certificate } from 'node:crypto'
import type { X509Bundles, X509Svid } from '@nsm/spiffe/svid.js'
import { verifyChain } from '@nsm/spiffe/verify.js'
import t from 'tap'
import { extension, makeCertificate } from '../kit/certificate.ts'
import { federation, testAuthority, type SvidOptions } from '../kit/identity.ts'

const now = Date.now()
const secondMs = 1_000
const unauthenticated = { code: 'UNAUTHENTICATED' }

t.test('good SVIDs prove their identity', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const prove = (svid: X509Svid): string => verifyChain(svid.certificates, ca.bundles, now).id
  const id = 'spiffe://k8s.nsm/ns/a/pod/b'
  const both = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']
  const good: Record<string, SvidOptions> = {
    plain: {},
    'with DNS names, which are ignored': { dnsNames: ['b.example.org', 'spiffe.example.org'] },
    'with both extended usages': { extendedUsages: both },
    'with any extended usage': { extendedUsages: ['2.5.29.37.0'] },
    'on RSA': { keyType: 'rsa' },
    'on P-384': { keyType: 'p384' },
    'below an intermediate': { via: ca.intermediate() },
    'with an unknown extension that is not critical': {
      extensions: [extension('1.2.3.4', false, Buffer.of(5, 0))],
    },
    'until 2077': { notAfter: new Date('2077-01-01T00:00:00Z') },
  }
  for (const [name, options] of Object.entries(good))
    t.equal(prove(ca.svid('/ns/a/pod/b', options)), id, name)
})

t.test('a leaf that breaks a rule is refused', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const bad: Record<string, [SvidOptions, RegExp]> = {
    'two URI names': [{ uris: ['spiffe://k8s.nsm/a', 'spiffe://k8s.nsm/b'] }, /2 URI names/],
    'the same URI name twice': [{ uris: ['spiffe://k8s.nsm/a', 'spiffe://k8s.nsm/a'] }, /2 URI names/],
    'no URI name': [{ uris: [], dnsNames: ['a.k8s.nsm'] }, /0 URI names/],
    'no name at all': [{ uris: [] }, /0 URI names/],
    'not a SPIFFE ID': [{ uris: ['https://k8s.nsm/a'] }, /does not start with/],
    'root path': [{ uris: ['spiffe://k8s.nsm'] }, /not a workload/],
    'upper-case trust domain': [{ uris: ['spiffe://K8S.nsm/a'] }, /lower-case/],
    'zero byte in the ID': [{ uris: ['spiffe://k8s.nsm/a\0b'] }, /letters, digits/],
    'a CA': [{ ca: true }, /CA certificate/],
    keyCertSign: [{ usages: ['digitalSignature', 'keyCertSign'] }, /keyCertSign/],
    cRLSign: [{ usages: ['digitalSignature', 'cRLSign'] }, /cRLSign/],
    'no digitalSignature': [{ usages: [] }, /digitalSignature/],
    'key usage not critical': [{ usagesCritical: false }, /not critical/],
    'server only': [{ extendedUsages: ['1.3.6.1.5.5.7.3.1'] }, /extended key usage/],
    'client only': [{ extendedUsages: ['1.3.6.1.5.5.7.3.2'] }, /extended key usage/],
    'expired a second ago': [{ notAfter: new Date(now - secondMs) }, /has expired/],
    'not valid yet': [{ notBefore: new Date(now + 2 * secondMs) }, /not valid yet/],
    'unknown critical extension': [
      { extensions: [extension('1.2.3.4', true, Buffer.of(5, 0))] },
      /1\.2\.3\.4/,
    ],
  }
  for (const [name, [options, message]] of Object.entries(bad)) {
    const { certificates } = ca.svid('/a', options)
    t.throws(() => verifyChain(certificates, ca.bundles, now), { ...unauthenticated, message }, name)
  }
})

t.test('the validity ends with its last second', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const notAfter = new Date(Math.floor(now / secondMs) * secondMs + 10 * secondMs)
  const { certificates } = ca.svid('/a', { notAfter })
  t.equal(verifyChain(certificates, ca.bundles, notAfter.getTime()).path, '/a')
  t.throws(() => verifyChain(certificates, ca.bundles, notAfter.getTime() + 1), { message: /expired/ })
})

t.test('only the bundle of the own trust domain counts', async (t) => {
  const [a, b] = await Promise.all([testAuthority('a.test'), testAuthority('b.test')])
  const both = federation(a, b)
  const forged = b.svid('/x', { uris: ['spiffe://a.test/x'] })
  t.throws(() => verifyChain(forged.certificates, both, now), unauthenticated, "b's root signs no IDs of a")
  t.equal(verifyChain(a.svid('/x').certificates, both, now).trustDomain, 'a.test')
  t.throws(
    () => verifyChain(a.svid('/x').certificates, b.bundles, now),
    { message: /no bundle/ },
    'not federated',
  )
  const emptied: X509Bundles = new Map([['a.test', []]])
  t.throws(
    () => verifyChain(a.svid('/x').certificates, emptied, now),
    { message: /no bundle/ },
    'bundle emptied',
  )
})

t.test('of several roots each will do, as during a rotation', async (t) => {
  const [old, fresh] = await Promise.all([testAuthority('k8s.nsm'), testAuthority('k8s.nsm')])
  const bundles: X509Bundles = new Map([['k8s.nsm', [old.root, fresh.root]]])
  t.equal(verifyChain(old.svid('/a').certificates, bundles, now).path, '/a')
  t.equal(verifyChain(fresh.svid('/b').certificates, bundles, now).path, '/b')
  t.throws(() => verifyChain(fresh.svid('/b').certificates, old.bundles, now), unauthenticated)
})

t.test('an intermediate must be a CA that may sign', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const dns = Buffer.from('300aa0083006820478797a2e', 'hex')
  const uriOf = (host: string): Buffer => {
    const name = Buffer.concat([Buffer.of(0x86, host.length), Buffer.from(host)])
    return Buffer.concat([Buffer.of(0x30, name.length + 4, 0xa0, name.length + 2, 0x30, name.length), name])
  }
  const bad: Record<string, [SvidOptions, RegExp]> = {
    'not a CA': [{ ca: false }, /not a CA/],
    'no keyCertSign': [{ usages: ['digitalSignature'] }, /keyCertSign/],
    expired: [{ notAfter: new Date(now - secondMs) }, /expired/],
    'constrained to other URIs': [
      { extensions: [extension('2.5.29.30', true, uriOf('other.test'))] },
      /name constraints/,
    ],
    'constrained in DNS names': [{ extensions: [extension('2.5.29.30', true, dns)] }, /name constraints/],
    'unknown critical extension': [
      { extensions: [extension('1.2.3.4', true, Buffer.of(5, 0))] },
      /1\.2\.3\.4/,
    ],
  }
  for (const [name, [options, message]] of Object.entries(bad)) {
    const { certificates } = ca.svid('/a', { via: ca.intermediate(options) })
    t.throws(() => verifyChain(certificates, ca.bundles, now), { ...unauthenticated, message }, name)
  }
  const fitting = ca.intermediate({
    extensions: [extension('2.5.29.30', true, uriOf('k8s.nsm'))],
    pathLength: 0,
  })
  t.equal(verifyChain(ca.svid('/a', { via: fitting }).certificates, ca.bundles, now).path, '/a')
})

t.test('a missing intermediate, a wrong signature, an odd chain', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const via = ca.intermediate()
  const svid = ca.svid('/a', { via })
  const [leaf] = svid.certificates
  t.throws(() => verifyChain([leaf], ca.bundles, now), { message: /no path/ })
  t.throws(() => verifyChain([], ca.bundles, now), { message: /no certificate/ })
  t.throws(() => verifyChain([leaf, ...Array<X509Certificate>(8).fill(via.certificate)], ca.bundles, now), {
    message: /at most 8/,
  })
  const impostor = { certificate: via.certificate, key: ca.intermediate().key }
  const forged = ca.svid('/a', { via: impostor })
  t.throws(() => verifyChain(forged.certificates, ca.bundles, now), { message: /signature/ })
  const unrelated = ca.intermediate().certificate
  t.equal(
    verifyChain([leaf, unrelated, via.certificate], ca.bundles, now).path,
    '/a',
    'order and extras do not matter',
  )
})

t.test('a path length is kept', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const upper = ca.intermediate({ pathLength: 0 })
  const lowerKey = ca.svid('/key').privateKey
  const lower = makeCertificate({
    subject: 'lower',
    issuer: 'k8s.nsm intermediate',
    key: lowerKey,
    signingKey: upper.key,
    notBefore: new Date(now - secondMs),
    notAfter: new Date(now + 60 * secondMs),
    uris: [],
    dnsNames: [],
    ca: true,
    usages: ['keyCertSign'],
    usagesCritical: true,
    extendedUsages: [],
    extensions: [],
  })
  const { certificates } = ca.svid('/a', { via: { certificate: lower, key: lowerKey } })
  t.throws(() => verifyChain([...certificates, upper.certificate], ca.bundles, now), {
    message: /path of this length/,
  })
})

t.test('many candidates of one name do not cost more than a bounded search', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const stranger = await testAuthority('k8s.nsm')
  const roots = Array.from({ length: 100 }, () => ca.root)
  const { certificates } = stranger.svid('/a')
  t.throws(() => verifyChain(certificates, new Map([['k8s.nsm', roots]]), now), { message: /signatures/ })
})
