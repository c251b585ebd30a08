import { backoff } from '@nsm/spiffe/backoff.js'
import t from 'tap'

t.test('waits double up to the greatest, and start over after a reset', (t) => {
  const waits = backoff({ minMs: 200, maxMs: 30_000, random: () => 0 })
  t.same(
    Array.from({ length: 10 }, () => waits.next()),
    [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000],
  )
  waits.reset()
  t.equal(waits.next(), 200)
  t.end()
})

t.test('chance cuts a wait by up to a half', (t) => {
  const waits = backoff({ minMs: 200, maxMs: 30_000, random: () => 0.999_999 })
  t.ok(waits.next() > 100)
  t.ok(waits.next() < 201)
  t.end()
})
