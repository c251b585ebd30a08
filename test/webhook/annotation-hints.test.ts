import { annotationHints } from '@nsm/webhook/annotation-hints.js'
import t from 'tap'

t.test('what was perhaps meant', async (t) => {
  t.same(annotationHints(['example.com/cpu-limits', 'other'], ['example.com/cpu-limit'], 5), [
    { key: 'example.com/cpu-limits', meant: 'example.com/cpu-limit' },
    { key: 'other', meant: undefined },
  ])
})

t.test(
  'however many keys there are, few are compared, and none that Kubernetes would not take',
  async (t) => {
    let compared = 0
    const known: Iterable<string> = {
      *[Symbol.iterator]() {
        compared++
        yield 'example.com/cpu-limit'
      },
    }
    const long = 'x'.repeat(318)
    const keys = [long, ...Array.from({ length: 60_000 }, (_, i) => `example.com/key-${i}`)]
    const hints = annotationHints(keys, known, 5)
    t.equal(compared, 5)
    t.same(
      hints.map(({ key }) => key),
      keys.slice(1, 6),
    )
  },
)
