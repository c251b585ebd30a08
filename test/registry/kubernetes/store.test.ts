import { NetworkService } from '@nsm/api/gen/registry.js'
import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { endpoint, namesFound, registryConformance, watcher } from '../../kit/registry-conformance.ts'
import { replicaWorld } from '../../kit/replica-world.ts'
import { settled } from '../../kit/settled.ts'

const ctx = background()
const collection = '/apis/networkservicemesh.io/v1/networkserviceendpoints'

registryConformance('kubernetes in memory', async (t) => {
  const stores = replicaWorld(t).stores()
  await settled()
  return stores
})

t.test('own writes count at once, however far the watch is behind', async (t) => {
  const { api, replica, alive } = replicaWorld(t)
  const store = await replica()
  api.isSlow = true
  await store.register(ctx, alive('a', { url: 'tcp://1:1' }))
  await store.register(ctx, alive('a', { url: 'tcp://2:2' }))
  t.equal(store.living('a')?.url, 'tcp://2:2')
  await store.register(ctx, alive('b'))
  await store.unregister(ctx, endpoint('b'))
  const next = watcher(t, store)
  t.equal(await next(), '+a tcp://2:2')
  api.isSlow = false
  await settled()
  t.equal(store.living('a')?.url, 'tcp://2:2')
  t.same(await namesFound(ctx, store), ['a'], 'what was removed does not come back')
  await store.register(ctx, alive('a', { url: 'tcp://3:3' }))
  t.equal(await next(), '+a tcp://3:3', 'and nothing was told twice')
})

t.test('calls before everything is loaded are refused', async (t) => {
  const { api, stores, replica, alive } = replicaWorld(t)
  api.isAway = true
  const { networkServiceEndpoints: store } = stores()
  const unavailable = { code: 'UNAVAILABLE', message: /not been loaded/ }
  await t.rejects(store.register(ctx, alive('a')), unavailable)
  await t.rejects(store.unregister(ctx, alive('a')), unavailable)
  await t.rejects(namesFound(ctx, store), unavailable)
  api.isAway = false
  await (await replica()).register(ctx, alive('a'))
})

t.test('what the API server refuses is told, by whose fault it is', async (t) => {
  const { api, replica, alive } = replicaWorld(t)
  const store = await replica()
  const cases = [
    ['PERMISSION_DENIED', 'FAILED_PRECONDITION'],
    ['NOT_FOUND', 'FAILED_PRECONDITION'],
    ['RESOURCE_EXHAUSTED', 'UNAVAILABLE'],
    ['INVALID_ARGUMENT', 'INVALID_ARGUMENT'],
  ] as const
  for (const [code, told] of cases) {
    api.before = () => {
      throw new NsmError(code, 'namespaces "nsm-system" says no')
    }
    await t.rejects(store.register(ctx, alive('a')), { code: told, message: /^kubernetes: namespaces/ })
  }
})

t.test('what people delete is gone until its owner hears of it and registers again', async (t) => {
  const { api, replica, alive } = replicaWorld(t)
  const store = await replica()
  await store.register(ctx, alive('a'))
  const next = watcher(t, store, { name: 'a' })
  await next()
  api.store.remove(collection, 'nsm-system', 'a')
  t.match(await next(), /^-a/)
  await store.register(ctx, alive('a'))
  t.match(await next(), /^\+a/)
})

t.test(
  'what was made and deleted while there was no watch is gone, however long that was forgotten',
  async (t) => {
    const { api, clock, stores, alive } = replicaWorld(t)
    const [a, b] = [stores(), stores()]
    await settled()
    const service = NetworkService.fromPartial({ name: 'db', payload: 'IP', pathIds: ['spiffe://k8s.nsm/a'] })
    await a.networkServiceEndpoints.register(ctx, alive('stays'))
    await settled()
    const next = watcher(t, a.networkServiceEndpoints, { name: 'x' })
    api.endWatches()
    await settled()
    await a.networkServices.register(ctx, service)
    await a.networkServiceEndpoints.register(ctx, alive('x'))
    t.match(await next(), '+x')
    await b.networkServices.unregister(ctx, service)
    await b.networkServiceEndpoints.unregister(ctx, endpoint('x'))
    api.store.compact()
    await advance(clock, 20_000)
    t.match(await next(), /^-x/)
    t.equal(a.networkServices.size, 0)
    t.same(await namesFound(ctx, a.networkServiceEndpoints), ['stays'])
  },
)

t.test('a list that is older than an own write takes nothing back', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  await store.register(ctx, alive('a'))
  await settled()
  let listed: (() => void) | undefined
  const client = api.client()
  const slow = await replica({
    client: {
      ...client,
      async get(path, signal) {
        const answer = await client.get(path, signal)
        const isList = /networkserviceendpoints\?.*resourceVersion/.test(path)
        if (isList) await new Promise<void>((resolve) => (listed = resolve))
        return answer as never
      },
    },
  })
  api.endWatches()
  await store.register(ctx, alive('b'))
  api.store.compact()
  await advance(clock, 20_000)
  t.ok(listed, 'it is being listed')
  await slow.register(ctx, alive('young'))
  listed?.()
  await settled()
  t.same(await namesFound(ctx, slow), ['a', 'b', 'young'])
})

t.test(
  'once the API server is back, what was missed is known within seconds, however long it was away',
  async (t) => {
    const { api, clock, replica } = replicaWorld(t)
    const store = await replica()
    api.isAway = true
    await advance(clock, 120_000)
    api.store.put(collection, {
      metadata: { name: 'by-hand', namespace: 'app' },
      spec: { name: 'by-hand', url: 'tcp://1:1', network_service_names: ['s'] },
    })
    api.isAway = false
    await advance(clock, 1500)
    t.same(await namesFound(ctx, store), ['by-hand'])
  },
)

t.test('the burst of one owner leaves room for the calls of others', async (t) => {
  const { api, replica, alive } = replicaWorld(t)
  const store = await replica()
  const release: (() => void)[] = []
  const posts = (): number => api.calls.filter((call) => call.startsWith('POST')).length
  api.before = async (call) => {
    if (call.startsWith('POST')) await new Promise<void>((resolve) => release.push(resolve))
  }
  const many = Array.from({ length: 100 }, (_, n) => store.register(ctx, alive(`e${n}`)))
  await settled()
  t.equal(posts(), 16)
  const other = store.register(ctx, alive('other', { pathIds: ['spiffe://k8s.nsm/other'] }))
  await settled()
  t.equal(posts(), 17)
  while (release.length > 0) {
    release.shift()?.()
    await settled()
  }
  await Promise.all([...many, other])
  t.equal(store.size, 101)
})

t.test('a service that was registered again says nothing new and writes nothing', async (t) => {
  const { api, stores } = replicaWorld(t)
  const { networkServices } = stores()
  await settled()
  const service = NetworkService.fromPartial({ name: 'db', payload: 'IP', pathIds: ['spiffe://k8s.nsm/a'] })
  await networkServices.register(ctx, service)
  api.calls.length = 0
  await networkServices.register(ctx, service)
  t.same(api.calls, [])
})
