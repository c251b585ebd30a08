import { valuesOf } from '@nsm/cli/cluster/metrics.js'
import t from 'tap'

t.test('values of one metric, with or without labels', async (t) => {
  const text = [
    '# HELP a_seconds what it is 7',
    '# TYPE a_seconds gauge',
    'a_seconds 1.5',
    'a_seconds{x="a b",y="}"} 2e3 1700000000000',
    'a_seconds_total 3',
    'a_seconds NaN',
    'b 4',
    '',
  ].join('\n')
  t.strictSame(valuesOf(text, 'a_seconds'), [1.5, 2_000])
  t.strictSame(valuesOf(text, 'c'), [])
})
