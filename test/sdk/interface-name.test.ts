import { interfaceNameFault } from '@nsm/api/interface-name.js'
import { newInterfaceName } from '@nsm/sdk/interface-name.js'
import * as fc from 'fast-check'
import t from 'tap'

t.test('the service, then letters that depend on the seed alone', (t) => {
  t.match(newInterfaceName('icmp-responder', 'a'), /^icmp-respo-[0-9A-Za-z]{4}$/)
  t.match(newInterfaceName('s@my.cluster', 'a'), /^s-my.clust-[0-9A-Za-z]{4}$/)
  t.equal(newInterfaceName('s', 'a'), newInterfaceName('s', 'a'))
  t.not(newInterfaceName('s', 'a'), newInterfaceName('s', 'b'))
  t.end()
})

t.test('made-up names are names', (t) => {
  const services = fc.oneof(
    fc.string({ unit: 'binary-ascii' }),
    fc.constantFrom('', '@', '..', 'svc@my.cluster', 'ünï'),
  )
  fc.assert(
    fc.property(services, fc.string(), (service, seed) => {
      const name = newInterfaceName(service, seed)
      return name.length === 15 && interfaceNameFault(name) === undefined
    }),
    { numRuns: 50 },
  )
  t.end()
})
