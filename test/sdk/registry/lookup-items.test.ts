import { networkServiceEndpointKind } from '@nsm/sdk/registry/kind.js'
import { lookupItems, type LookupItems } from '@nsm/sdk/registry/lookup-items.js'
import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import t from 'tap'
import { endpoint } from '../../kit/registry-conformance.ts'

const of = (max = 9): LookupItems<NetworkServiceEndpoint> =>
  lookupItems(networkServiceEndpointKind, endpoint('', { networkServiceLabels: {}, url: '' }), max)

const names = (items: LookupItems<NetworkServiceEndpoint>): string | undefined =>
  items.all() && [...(items.all()?.keys() ?? [])].join()

t.test('complete with the first whole answer; what the watch has told knows better', async (t) => {
  const items = of()
  items.tell(endpoint('a', { url: 'new' }), true)
  items.tell(endpoint('gone'), false)
  t.equal(names(items), undefined)
  t.equal(items.named('a')?.url, 'new')
  items.complete([endpoint('a', { url: 'old' }), endpoint('gone'), endpoint('b')])
  t.equal(names(items), 'a,b')
  t.equal(items.named('a')?.url, 'new')
})

t.test('what does not fit any more is gone', async (t) => {
  const items = of()
  items.complete([endpoint('a'), endpoint('b')])
  items.tell(endpoint('a', { networkServiceNames: ['other'] }), true)
  t.equal(names(items), 'b')
})

t.test('too many are not kept, nor are those that follow', async (t) => {
  const items = of(2)
  for (const name of ['a', 'b', 'c', 'd']) items.tell(endpoint(name), true)
  t.same([items.isOverfull, names(items), items.named('d')], [true, undefined, undefined])
  items.complete([endpoint('a')])
  t.same([items.isComplete, items.named('a')], [false, undefined])
})
