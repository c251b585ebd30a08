import { atMost, mergePrefixes } from '@nsm/prefixes/merge.js'
import {
  contains,
  formatPrefix,
  parsePrefix,
  rangeOf,
  type Address,
  type Prefix,
} from '@nsm/sdk/net/prefix.js'
import fc from 'fast-check'
import t from 'tap'

const read = (text: string): Prefix => {
  const prefix = parsePrefix(text)
  if (prefix === undefined) throw new Error(`${text} is no prefix`)
  return prefix
}
const merged = (...texts: string[]): string[] => mergePrefixes(texts.map(read)).map(formatPrefix)

t.test('what clusters have', async (t) => {
  t.same(merged(), [])
  t.same(merged('10.244.1.0/24', '10.96.0.0/12', '10.244.0.0/24', '192.168.7.5/32'), [
    '10.96.0.0/12',
    '10.244.0.0/23',
    '192.168.7.5/32',
  ])
  t.same(merged('10.244.0.0/16', '10.244.3.0/24', '10.244.0.0/16'), ['10.244.0.0/16'], 'contained, twice')
  t.same(merged('10.1.2.3/8'), ['10.0.0.0/8'], 'host bits')
  t.same(
    merged('10.0.1.0/24', '10.0.2.0/24'),
    ['10.0.1.0/24', '10.0.2.0/24'],
    'neighbours that are no halves',
  )
  t.same(merged('fd00::/64', '10.0.0.0/8', 'fd00:0:0:1::/64', '::ffff:11.0.0.0/104'), [
    '10.0.0.0/7',
    'fd00::/63',
  ])
  t.same(merged('0.0.0.0/1', '128.0.0.0/1', '::/0', 'fd00::/8'), ['0.0.0.0/0', '::/0'])
})

/** Near each other, so that they meet. */
const prefix = fc
  .oneof(
    fc.record({
      host: fc.nat(255),
      length: fc.integer({ min: 22, max: 32 }),
      family: fc.constant(4 as const),
    }),
    fc.record({
      host: fc.nat(255),
      length: fc.integer({ min: 118, max: 128 }),
      family: fc.constant(6 as const),
    }),
  )
  .map(({ host, length, family }): Prefix => ({
    address: { family, value: 0x0a000000n + BigInt(host) },
    length,
  }))

const probes: readonly Address[] = ([4, 6] as const).flatMap((family) =>
  Array.from({ length: 512 }, (_, at) => ({ family, value: 0x0a000000n - 128n + BigInt(at) })),
)
const holds = (prefixes: readonly Prefix[], address: Address): boolean =>
  prefixes.some((one) => contains(one, address))

t.test(
  'the same addresses, no two that touch as halves or overlap, in order, whatever the order before',
  async () => {
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 30 }), (given) => {
        const found = mergePrefixes(given)
        for (const address of probes) {
          if (holds(given, address) !== holds(found, address))
            throw new Error(formatPrefix({ address, length: 0 }))
        }
        for (const [at, one] of found.entries()) {
          const next = found[at + 1]
          if (next === undefined || next.address.family !== one.address.family) continue
          if (rangeOf(one).last >= rangeOf(next).first) throw new Error('not in order, or overlapping')
          const isWhole = rangeOf({ ...one, length: one.length - 1 }).last === rangeOf(next).last
          if (one.length === next.length && isWhole) throw new Error('two halves')
        }
        const again = mergePrefixes([...given, ...found].toReversed())
        if (again.map(formatPrefix).join() !== found.map(formatPrefix).join()) throw new Error('not the same')
      }),
    )
  },
)

t.test('no more than so many, and nothing is lost', async (t) => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 60 }), fc.integer({ min: 2, max: 20 }), (given, most) => {
      const found = atMost(most, given)
      if (found.length > most) throw new Error(`${found.length} are more than ${most}`)
      for (const address of probes) {
        if (holds(given, address) && !holds(found, address)) throw new Error('lost')
      }
      const exact = mergePrefixes(given)
      if (exact.length <= most && found.length !== exact.length) throw new Error('coarser without need')
    }),
  )
  const nodes = Array.from({ length: 5000 }, (_, at) => read(`10.${at >> 8}.${at & 255}.7/32`))
  const found = atMost(1000, nodes)
  t.ok(found.length <= 1000 && found.length > 1, `${found.length} left`)
  t.ok(nodes.every(({ address }) => holds(found, address)))
})
