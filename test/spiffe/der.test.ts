import { X509Certificate } from 'node:crypto'
import { detailsOf } from '@nsm/spiffe/certificate.js'
import { derReader, readTime, splitDer } from '@nsm/spiffe/der.js'
import { parseBundle } from '@nsm/spiffe/x509-svid.js'
import fc from 'fast-check'
import t from 'tap'
import { testAuthority } from '../kit/identity.ts'

const malformed = { code: 'INVALID_ARGUMENT', message: /malformed DER/ }
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

t.test('elements are read one after another', (t) => {
  const reader = derReader(hex('02 01 05  30 81 02 05 00  01 01 ff'))
  t.same([...reader.next(0x02).value], [5])
  t.equal(reader.optional(0x31), undefined)
  t.same(reader.optional(0x30)?.value, hex('05 00'))
  t.equal(reader.done, false)
  t.throws(() => reader.next(0x02), malformed)
  t.same(reader.next().value, hex('ff'))
  t.equal(reader.done, true)
  t.throws(() => reader.next(), malformed)
  t.end()
})

t.test('lengths that lie, or that DER does not know, are refused', (t) => {
  for (const bytes of [
    '30',
    '30 01',
    '30 82 01',
    '30 84 ff ff ff ff',
    '30 80 00 00',
    '30 85 00 00 00 00 00',
    '1f 81 01 00',
  ]) {
    t.throws(() => derReader(hex(bytes)).next(), malformed, bytes)
  }
  t.end()
})

t.test('concatenated sequences fall apart, up to a bound', (t) => {
  t.same(splitDer(Buffer.alloc(0), 1), [])
  t.same(splitDer(hex('30 00 30 01 05'), 2), [hex('30 00'), hex('30 01 05')])
  t.throws(() => splitDer(hex('30 00 30 00 30 00'), 2), { message: /more than 2/ })
  t.throws(() => splitDer(hex('30 00 05'), 2), malformed)
  t.throws(() => splitDer(hex('31 00'), 2), malformed)
  t.end()
})

t.test('times are UTC with seconds', (t) => {
  const time = (tag: number, text: string): number =>
    readTime({ tag, value: Buffer.from(text), raw: Buffer.alloc(0) })
  t.equal(time(0x17, '491231235959Z'), Date.UTC(2049, 11, 31, 23, 59, 59))
  t.equal(time(0x17, '500101000000Z'), Date.UTC(1950, 0, 1))
  t.equal(time(0x18, '20500101000000Z'), Date.UTC(2050, 0, 1))
  for (const text of ['4912312359Z', '491231235959+0100', '20491231235959Z', '']) {
    t.throws(() => time(0x17, text), { message: /time/ }, text)
  }
  t.end()
})

t.test('what is read agrees with node:crypto', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  for (const certificate of [
    ca.root,
    ca.svid('/a', { keyType: 'p384' }).certificates[0],
    ca.intermediate().certificate,
  ]) {
    const details = detailsOf(certificate)
    t.equal(details.notBeforeMs, Date.parse(certificate.validFrom))
    t.equal(details.notAfterMs, Date.parse(certificate.validTo))
    t.equal(details.isCa, certificate.ca)
    t.same(details.uris.map((uri) => `URI:${uri}`).join(', '), certificate.subjectAltName ?? '')
    t.equal(details.issuer.equals(details.subject), certificate.issuer === certificate.subject)
  }
})

t.test('no certificate, however damaged, does more than be refused', async (t) => {
  const { raw } = (await testAuthority('k8s.nsm')).svid('/a').certificates[0]
  const damage = fc.tuple(fc.nat(raw.length - 1), fc.nat(255))
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = Buffer.from(raw)
      for (const [at, value] of changes) bytes[at] = value
      let certificate: X509Certificate
      try {
        certificate = new X509Certificate(bytes)
      } catch {
        return
      }
      try {
        detailsOf(certificate)
      } catch (err) {
        t.match(err, { code: 'INVALID_ARGUMENT' })
      }
    }),
    { numRuns: 300 },
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        t.ok(parseBundle(bytes, 'bundle').length === 0)
      } catch (err) {
        t.match(err, { code: 'INVALID_ARGUMENT' })
      }
    }),
    { numRuns: 100 },
  )
})
