import { Connection, State } from '@nsm/api/gen/connection.js'
import { mergeConnection } from '@nsm/sdk/elements/merge-connection.js'
import t from 'tap'

const segments = (...ids: string[]) => ids.map((id) => ({ name: id, id }))
const stored = Connection.fromPartial({
  id: 'b',
  networkServiceEndpointName: 'healed',
  labels: { from: 'stored' },
  mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'stored' } },
  context: { MTU: 1400, ipContext: { srcIpAddrs: ['10.0.0.2/32'] } },
  path: { index: 1, pathSegments: segments('a', 'b', 'c2', 'd2') },
})
const returned = Connection.fromPartial({
  id: 'b',
  networkServiceEndpointName: 'nse',
  labels: { from: 'answer' },
  mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'answer' } },
  context: { MTU: 1500, ipContext: { srcIpAddrs: ['10.0.0.1/32'] } },
  path: { index: 1, pathSegments: segments('a', 'b', 'c') },
})

t.test('what the caller did not change is as stored', (t) => {
  const merged = mergeConnection(returned, returned, stored)
  t.same({ ...merged, path: undefined }, { ...stored, path: undefined })
  t.end()
})

t.test('what the caller changed is the caller’s', (t) => {
  const requested = Connection.fromPartial({
    ...returned,
    networkServiceEndpointName: 'wanted',
    context: { MTU: 1500, ipContext: { srcIpAddrs: [] } },
    mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'new' } },
  })
  const merged = mergeConnection(returned, requested, stored)
  t.equal(merged.networkServiceEndpointName, 'wanted')
  t.same(merged.context?.ipContext?.srcIpAddrs, [])
  t.equal(merged.context?.MTU, 1400)
  t.equal(merged.mechanism?.parameters['name'], 'new')
  t.same(merged.labels, { from: 'stored' })
  t.end()
})

t.test('a request as it was at first gets what was stored', (t) => {
  const merged = mergeConnection(returned, Connection.fromPartial({ id: 'b' }), stored)
  t.same(merged.mechanism, stored.mechanism)
  t.same(merged.context, stored.context)
  t.end()
})

t.test('the path is the caller’s up to the own segment, the stored one behind', (t) => {
  const fresh = { name: 'a', id: 'a', token: 'new' }
  const requested = Connection.fromPartial({
    ...returned,
    path: { index: 1, pathSegments: [fresh, { name: 'b', id: 'b' }, { name: 'c', id: 'c' }] },
  })
  const { path } = mergeConnection(returned, requested, stored)
  t.same(
    path?.pathSegments.map(({ id }) => id),
    ['a', 'b', 'c2', 'd2'],
  )
  t.equal(path?.pathSegments[0]?.token, 'new')
  t.end()
})

t.test('who asks to reselect is not held to what was stored', (t) => {
  const requested = Connection.fromPartial({ id: 'b', state: State.RESELECT_REQUESTED })
  const merged = mergeConnection(returned, requested, stored)
  t.same([merged.mechanism, merged.networkServiceEndpointName], [undefined, ''])
  t.end()
})
