import { background } from '@nsm/sdk/ctx.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { clientInfo } from '@nsm/sdk/registry/client-info.js'
import t from 'tap'
import { endpoint } from '../../kit/registry-conformance.ts'

t.test('every service gets the labels, what is there stays', async (t) => {
  const registry = registryChain([clientInfo({ nodeName: 'n1', podName: 'p1' })])
  const sent = endpoint('a', {
    networkServiceNames: ['db', 'web'],
    networkServiceLabels: { db: { labels: { nodeName: 'mine', app: 'x' } }, other: { labels: { a: 'b' } } },
  })
  const { networkServiceLabels } = await registry.register(background(), sent)
  t.match(networkServiceLabels, {
    db: { labels: { nodeName: 'mine', podName: 'p1', app: 'x' } },
    web: { labels: { nodeName: 'n1', podName: 'p1' } },
    other: { labels: { a: 'b' } },
  })
  t.same(sent.networkServiceLabels['db']?.labels, { nodeName: 'mine', app: 'x' }, 'the input is as it was')
})
