import { background } from '@nsm/sdk/ctx.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { memoryRegistry, type MemoryLimits } from '@nsm/sdk/registry/memory.js'
import t from 'tap'
import {
  endpoint,
  endpointQuery,
  namesFound,
  registryConformance,
  watcher,
} from '../../kit/registry-conformance.ts'

registryConformance('memory', async () => ({
  networkServices: memoryRegistry(networkServiceKind),
  networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
}))

const limits: MemoryLimits = {
  objects: 3,
  objectsPerOwner: 2,
  watches: { total: 2, perPeer: 2, waiting: 2 },
}

t.test('bounds: objects in total and of one owner', async (t) => {
  const ctx = background()
  const store = memoryRegistry(networkServiceEndpointKind, limits)
  await store.register(ctx, endpoint('a'))
  await store.register(ctx, endpoint('b'))
  await t.rejects(store.register(ctx, endpoint('c')), { code: 'RESOURCE_EXHAUSTED', message: /owner/ })
  await store.register(ctx, endpoint('a', { url: 'tcp://again:1' }))
  await store.register(ctx, endpoint('d', { pathIds: ['spiffe://k8s.nsm/other'] }))
  await t.rejects(store.register(ctx, endpoint('e', { pathIds: [] })), { code: 'RESOURCE_EXHAUSTED' })
  await store.unregister(ctx, endpoint('a'))
  await store.register(ctx, endpoint('c'))
  t.same(await namesFound(ctx, store), ['b', 'c', 'd'])
})

t.test('bounds: watches; one that is closed makes room', async (t) => {
  const store = memoryRegistry(networkServiceEndpointKind, limits)
  await store.register(background(), endpoint('a'))
  const open = (): AsyncIterator<unknown> =>
    store.find(background(), endpointQuery({}, true))[Symbol.asyncIterator]()
  const [first, second] = [open(), open()]
  await Promise.all([first.next(), second.next()])
  await t.rejects(open().next(), { code: 'RESOURCE_EXHAUSTED' })
  await first.return?.()
  const third = open()
  await third.next()
  await Promise.all([second.return?.(), third.return?.()])
})

t.test('a watcher that does not read hears the last state of each object, or is cut', async (t) => {
  const ctx = background()
  const store = memoryRegistry(networkServiceEndpointKind, { ...limits, objects: 10, objectsPerOwner: 10 })
  await store.register(ctx, endpoint('a', { url: 'tcp://0:0' }))
  const [slow, tooSlow] = [watcher(t, store), watcher(t, store)]
  await Promise.all([slow(), tooSlow()])
  for (const url of ['tcp://1:1', 'tcp://2:2']) await store.register(ctx, endpoint('a', { url }))
  await store.register(ctx, endpoint('b', { url: 'tcp://3:3' }))
  t.equal(await slow(), '+a tcp://2:2')
  t.equal(await slow(), '+b tcp://3:3')
  await store.register(ctx, endpoint('c'))
  t.equal(await slow(), '+c tcp://10.0.0.1:5001')
  await t.rejects(tooSlow(), { code: 'RESOURCE_EXHAUSTED' })
})

t.test('many endpoints: each is found, changed and removed by itself', async (t) => {
  const ctx = background()
  const store = memoryRegistry(networkServiceEndpointKind)
  const count = 20_000
  for (let n = 0; n < count; n++)
    await store.register(
      ctx,
      endpoint(`e${n}`, { networkServiceNames: [`s${n % 1000}`], pathIds: [`o${n % 10}`] }),
    )
  t.equal((await namesFound(ctx, store, { networkServiceNames: ['s7'] })).length, 20)
  t.same(await namesFound(ctx, store, { name: 'e4711' }), ['e4711'])
  for (let n = 0; n < count; n++) await store.unregister(ctx, endpoint(`e${n}`))
  t.same(await namesFound(ctx, store), [])
})
