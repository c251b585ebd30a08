import { addressPool, exclusions } from '@nsm/sdk/net/pool.js'
import { formatAddress, parseAddress, parsePrefix, type Address, type Prefix } from '@nsm/sdk/net/prefix.js'
import * as fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import t from 'tap'

const prefix = (text: string): Prefix => {
  const parsed = parsePrefix(text)
  if (parsed === undefined) throw new Error(text)
  return parsed
}
const address = (text: string): Address => {
  const parsed = parseAddress(text)
  if (parsed === undefined) throw new Error(text)
  return parsed
}
const none = exclusions([])
const shown = (given: Address | undefined): string | undefined => given && formatAddress(given)

t.test('the lowest free address first, the ends included, then no more', (t) => {
  for (const [text, expected] of [
    ['172.16.1.100/31', ['172.16.1.100', '172.16.1.101']],
    ['10.0.0.7/32', ['10.0.0.7']],
    ['10.0.0.7/30', ['10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.7']],
    ['2001:db8::/127', ['2001:db8::', '2001:db8::1']],
    ['2001:db8::1/128', ['2001:db8::1']],
  ] as const) {
    const pool = addressPool(prefix(text))
    t.same(
      expected.map(() => shown(pool.allocate(none))),
      expected,
    )
    t.equal(pool.allocate(none), undefined, `${text} is exhausted`)
  }
  t.end()
})

t.test('exclusions are jumped over, and not remembered', (t) => {
  const pool = addressPool(prefix('172.16.1.200/30'))
  const excluded = exclusions([prefix('172.16.1.201/32'), prefix('172.16.1.202/32')])
  t.equal(shown(pool.allocate(excluded)), '172.16.1.200')
  t.equal(shown(pool.allocate(excluded)), '172.16.1.203')
  t.equal(pool.allocate(excluded), undefined)
  t.equal(shown(pool.allocate(none)), '172.16.1.201')
  t.ok(excluded.covers(address('172.16.1.202')))
  t.notOk(excluded.covers(address('172.16.1.203')))
  t.end()
})

t.test('an exclusion under its IPv4-mapped name counts', (t) => {
  const pool = addressPool(prefix('10.0.0.0/30'))
  t.equal(shown(pool.allocate(exclusions([prefix('::ffff:10.0.0.0/127')]))), '10.0.0.2')
  t.end()
})

t.test('a huge pool is as quick as a small one', (t) => {
  const pool = addressPool(prefix('::/0'))
  const excluded = exclusions([prefix('::/1'), prefix('8000::/2')])
  t.equal(shown(pool.allocate(excluded)), 'c000::')
  t.equal(shown(pool.allocate(none)), '::')
  t.ok(pool.take(address('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')))
  t.equal(pool.allocate(exclusions([prefix('::/0')])), undefined)
  t.end()
})

t.test('what is taken, outside or of another family is not taken again', (t) => {
  const pool = addressPool(prefix('10.0.0.0/30'))
  t.ok(pool.take(address('10.0.0.1')))
  t.notOk(pool.take(address('10.0.0.1')))
  t.notOk(pool.take(address('10.0.0.4')))
  t.notOk(pool.take(address('::a00:0')))
  pool.release(address('10.0.0.9'))
  pool.release(address('10.0.0.1'))
  pool.release(address('10.0.0.1'))
  t.same(
    [0, 1, 2, 3, 4].map(() => shown(pool.allocate(none))),
    ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3', undefined],
  )
  t.end()
})

t.test('any sequence of calls answers as a plain list of addresses does', (t) => {
  const step = fc.record({
    what: fc.constantFrom('allocate', 'take', 'release'),
    host: fc.nat(15),
    excluded: fc.array(fc.tuple(fc.nat(15), fc.integer({ min: 28, max: 32 })), { maxLength: 3 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const pool = addressPool(prefix('192.0.2.16/28'))
      const free = new Set(Array.from({ length: 16 }, (_, i) => `192.0.2.${16 + i}`))
      for (const { what, host, excluded } of steps) {
        const text = `192.0.2.${16 + host}`
        const texts = excluded.map(([low, length]) => `192.0.2.${16 + low}/${length}`)
        if (what === 'release') {
          pool.release(address(text))
          free.add(text)
        } else if (what === 'take') {
          if (pool.take(address(text)) !== free.delete(text)) return false
        } else {
          const allowed = [...free].filter(
            (ip) => !texts.some((cidr) => ipaddr.parse(ip).match(ipaddr.parseCIDR(cidr))),
          )
          const expected = allowed.sort((a, b) => Number(a.split('.')[3]) - Number(b.split('.')[3]))[0]
          if (shown(pool.allocate(exclusions(texts.map(prefix)))) !== expected) return false
          if (expected !== undefined) free.delete(expected)
        }
      }
      return true
    }),
  )
  t.end()
})

t.test('many holders in a torn pool', (t) => {
  const pool = addressPool(prefix('10.0.0.0/8'))
  const held = Array.from({ length: 20_000 }, () => pool.allocate(none))
  for (const [at, given] of held.entries()) if (at % 2 === 0 && given !== undefined) pool.release(given)
  const high = exclusions([prefix('10.0.0.0/17')])
  t.equal(shown(pool.allocate(high)), '10.0.128.0')
  t.equal(shown(pool.allocate(none)), '10.0.0.0')
  t.equal(shown(pool.allocate(none)), '10.0.0.2')
  t.end()
})
