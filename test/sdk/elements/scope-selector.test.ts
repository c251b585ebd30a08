import { Connection, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { inScope } from '@nsm/sdk/elements/scope-selector.js'
import t from 'tap'

const conn = Connection.fromPartial({
  networkService: 'web',
  path: {
    index: 1,
    pathSegments: [
      { name: 'a', id: '1', token: 'x' },
      { name: 'b', id: '2' },
      { name: 'a', id: '3' },
    ],
  },
})
const fits = (selector: object) => inScope(MonitorScopeSelector.fromPartial(selector), conn)

t.test('services and a run of segments, where empty fits all', (t) => {
  t.ok(fits({}))
  t.ok(fits({ networkServices: ['db', 'web'] }))
  t.notOk(fits({ networkServices: ['we', 'web2', ''] }))
  t.ok(fits({ pathSegments: [{ id: '1' }] }))
  t.ok(fits({ pathSegments: [{ name: 'b' }] }))
  t.ok(fits({ pathSegments: [{ name: 'b' }, { name: 'a' }] }))
  t.ok(fits({ pathSegments: [{ name: 'a' }, {}, { id: '3' }] }))
  t.notOk(fits({ pathSegments: [{ name: 'a' }, { name: 'a' }] }), 'not contiguous')
  t.notOk(fits({ pathSegments: [{ id: '3' }, {}] }), 'beyond the end')
  t.notOk(fits({ pathSegments: [{ name: 'a', id: '2' }] }))
  t.ok(fits({ pathSegments: [{ token: 'x' }] }))
  t.notOk(fits({ pathSegments: [{ token: 'y' }] }))
  t.notOk(fits({ pathSegments: [{ id: '1' }], networkServices: ['db'] }), 'both must fit')
  t.notOk(inScope(MonitorScopeSelector.fromPartial({ pathSegments: [{}] }), Connection.fromPartial({})))
  t.end()
})
