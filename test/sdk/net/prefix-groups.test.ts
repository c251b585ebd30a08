import { parsePrefixGroups } from '@nsm/sdk/net/prefix-groups.js'
import { formatPrefix } from '@nsm/sdk/net/prefix.js'
import t from 'tap'

t.test('the two forms', (t) => {
  const shown = (text: string): string[][] => parsePrefixGroups(text).map((group) => group.map(formatPrefix))
  t.same(shown('169.254.0.0/16'), [['169.254.0.0/16']])
  t.same(shown('172.16.1.100/31,2001:db8::/116'), [['172.16.1.100/31'], ['2001:db8::/116']])
  t.same(shown('[10.0.0.0/24,10.0.2.0/24],[2001:db8::/116]'), [
    ['10.0.0.0/24', '10.0.2.0/24'],
    ['2001:db8::/116'],
  ])
  t.same(shown('[10.0.0.0/24,10.0.2.0/24],10.1.0.0/24'), [['10.0.0.0/24', '10.0.2.0/24'], ['10.1.0.0/24']])
  t.end()
})

t.test('everything else is refused with what is wrong', (t) => {
  for (const text of [
    '',
    ',',
    '10.0.0.0/24,',
    '[10.0.0.0/24',
    '10.0.0.0/24]',
    '[]',
    '[10.0.0.0/24,]',
    '10.0.0.0',
    '10.0.0.0/33',
    'x',
    '[10.0.0.0/24]10.0.1.0/24',
  ]) {
    t.throws(() => parsePrefixGroups(text), { code: 'INVALID_ARGUMENT' }, text)
  }
  t.throws(() => parsePrefixGroups('10.0.0.0/24,[::/0,10.0.0.128/25]'), {
    message: /10\.0\.0\.0\/24 and 10\.0\.0\.128\/25/,
  })
  t.end()
})
