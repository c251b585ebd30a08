import {
  contains,
  formatAddress,
  formatPrefix,
  overlaps,
  parseAddress,
  parsePrefix,
  rangeOf,
} from '@nsm/sdk/net/prefix.js'
import * as fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import t from 'tap'

// ipaddr.js takes the IPv4-compatible ::1.2.3.4 for the IPv4-mapped ::ffff:1.2.3.4, which RFC 4291 keeps apart.
const ipV6 = fc.ipV6().filter((text) => !/^::[\d.]+$/.test(text))
const address = fc.oneof(fc.ipV4(), ipV6)
const prefix = fc.oneof(
  fc.tuple(fc.ipV4(), fc.nat(32)).map(([ip, length]) => `${ip}/${length}`),
  fc.tuple(ipV6, fc.nat(128)).map(([ip, length]) => `${ip}/${length}`),
)
const must = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('undefined')
  return value
}

t.test('addresses read and write as another implementation does', (t) => {
  fc.assert(
    fc.property(address, (text) => {
      const ours = must(parseAddress(text))
      const theirs = ipaddr.process(text)
      t.equal(ours.family === 4 ? 'ipv4' : 'ipv6', theirs.kind())
      t.same(parseAddress(formatAddress(ours)), ours)
      return (
        formatAddress(ours) === (theirs instanceof ipaddr.IPv6 ? theirs.toRFC5952String() : theirs.toString())
      )
    }),
  )
  t.end()
})

t.test('containment as another implementation has it', (t) => {
  fc.assert(
    fc.property(prefix, address, fc.boolean(), (network, ip, near) => {
      const parsed = must(parsePrefix(network))
      const candidate = near
        ? { family: parsed.address.family, value: rangeOf(parsed).last }
        : must(parseAddress(ip))
      const theirs = ipaddr.process(formatAddress(candidate))
      const [base, length] = ipaddr.parseCIDR(formatPrefix(parsed))
      const expected = theirs.kind() === base.kind() && theirs.match(base, length)
      return contains(parsed, candidate) === expected
    }),
  )
  t.end()
})

t.test('IPv6 texts as RFC 5952 has them', (t) => {
  for (const [text, written] of [
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['0:0:1:0:0:0:0:0', '0:0:1::'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::192.0.2.1', '::c000:201'],
  ] as const) {
    t.equal(formatAddress(must(parseAddress(text))), written)
  }
  t.end()
})

t.test('an IPv4-mapped prefix is the IPv4 one, unless it is wider', (t) => {
  t.equal(formatPrefix(must(parsePrefix('::ffff:10.0.0.0/104'))), '10.0.0.0/8')
  t.equal(formatPrefix(must(parsePrefix('::ffff:10.0.0.1/128'))), '10.0.0.1/32')
  t.equal(must(parsePrefix('::ffff:0:0/95')).address.family, 6)
  t.end()
})

t.test('host bits do not change the network', (t) => {
  const odd = must(parsePrefix('172.16.1.77/24'))
  t.equal(formatPrefix(odd), '172.16.1.77/24')
  t.ok(contains(odd, must(parseAddress('172.16.1.0'))))
  t.notOk(contains(odd, must(parseAddress('172.16.2.0'))))
  t.ok(overlaps(odd, must(parsePrefix('172.16.0.0/16'))))
  t.notOk(overlaps(odd, must(parsePrefix('172.16.2.0/24'))))
  t.notOk(overlaps(odd, must(parsePrefix('::/0'))))
  t.end()
})

t.test('what is no address or prefix is undefined', (t) => {
  for (const text of [
    '',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.256',
    'fe80::1%eth0',
    ':::',
    '1::2::3',
    '12345::',
    ' 1.2.3.4',
    'a',
  ]) {
    t.equal(parseAddress(text), undefined, text)
    t.equal(parsePrefix(`${text}/8`), undefined, `${text}/8`)
  }
  for (const text of [
    '1.2.3.4',
    '1.2.3.4/',
    '1.2.3.4/33',
    '::/129',
    '1.2.3.4/08',
    '1.2.3.4/+8',
    '1.2.3.4/-1',
    '1.2.3.4/8/8',
    `${'1'.repeat(1e6)}/8`,
  ]) {
    t.equal(parsePrefix(text), undefined, text.slice(0, 20))
  }
  t.end()
})
