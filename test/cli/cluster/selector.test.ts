import { selects } from '@nsm/cli/cluster/selector.js'
import t from 'tap'

const labels = { 'kubernetes.io/metadata.name': 'demo', tier: 'web' }

t.test('as the API server reads it', async (t) => {
  const expression = (operator: string, key: string, ...values: string[]): object => ({
    matchExpressions: [{ operator, key, values }],
  })
  const cases: readonly (readonly [unknown, boolean])[] = [
    [undefined, true],
    [{}, true],
    [{ matchLabels: { tier: 'web' } }, true],
    [{ matchLabels: { tier: 'db' } }, false],
    [expression('In', 'tier', 'db', 'web'), true],
    [expression('In', 'zone', 'a'), false],
    [expression('NotIn', 'kubernetes.io/metadata.name', 'kube-system', 'demo'), false],
    [expression('NotIn', 'zone', 'a'), true],
    [expression('Exists', 'tier'), true],
    [expression('Exists', 'zone'), false],
    [expression('DoesNotExist', 'tier'), false],
    [expression('DoesNotExist', 'zone'), true],
    [{ matchLabels: { tier: 'web' }, ...expression('DoesNotExist', 'tier') }, false],
  ]
  for (const [selector, answer] of cases) t.equal(selects(selector, labels), answer, JSON.stringify(selector))
})
