import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain, type NetworkServiceEndpointElement } from '@nsm/sdk/registry-chain.js'
import { networkServiceEndpointKind } from '@nsm/sdk/registry/kind.js'
import { localBypass } from '@nsm/sdk/registry/local-bypass.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import t from 'tap'
import { endpoint, endpointQuery, watcher } from '../../kit/registry-conformance.ts'

const publicUrl = 'tcp://192.0.2.1:5001'
const ctx = background()

function world() {
  const store = memoryRegistry(networkServiceEndpointKind)
  const state = { down: false }
  const outage: NetworkServiceEndpointElement = {
    name: 'outage',
    async register(c, item, next) {
      if (state.down) throw new NsmError('UNAVAILABLE', 'down')
      return next.register(c, item)
    },
    async unregister(c, item, next) {
      if (state.down) throw new NsmError('UNAVAILABLE', 'down')
      await next.unregister(c, item)
    },
  }
  const registry = registryChain([localBypass(publicUrl), outage], store)
  const urls = async (from = registry): Promise<string[]> => {
    const found: string[] = []
    for await (const { networkServiceEndpoint: e } of from.find(ctx, endpointQuery({})))
      found.push(`${e?.name} ${e?.url}`)
    return found.sort()
  }
  return { store, state, registry, urls }
}

t.test('the registry has the public url, callers here have the real one', async (t) => {
  const { store, registry, urls } = world()
  t.equal((await registry.register(ctx, endpoint('a', { url: 'unix:///a' }))).url, 'unix:///a')
  await store.register(ctx, endpoint('far', { url: 'tcp://192.0.2.2:5001' }))
  t.same(await urls(store), [`a ${publicUrl}`, 'far tcp://192.0.2.2:5001'])
  t.same(await urls(), ['a unix:///a', 'far tcp://192.0.2.2:5001'])
  await registry.unregister(ctx, endpoint('a'))
  t.same(await urls(store), ['far tcp://192.0.2.2:5001'])
})

t.test('an endpoint of an earlier life of this nsmgr is not told, its end is', async (t) => {
  const { store, registry, urls } = world()
  await store.register(ctx, endpoint('old', { url: publicUrl }))
  t.same(await urls(), [])
  const next = watcher(t, registry)
  const first = next()
  await new Promise((resolve) => setImmediate(resolve))
  await store.unregister(ctx, endpoint('old'))
  t.equal(await first, `-old ${publicUrl}`)
})

t.test('a watcher hears of an endpoint with its first registration', async (t) => {
  const { registry } = world()
  const next = watcher(t, registry)
  const first = next()
  await registry.register(ctx, endpoint('a', { url: 'unix:///a' }))
  t.equal(await first, '+a unix:///a')
})

t.test('a refused registration is not remembered, a refused change keeps the url before', async (t) => {
  const { store, state, registry, urls } = world()
  state.down = true
  await t.rejects(registry.register(ctx, endpoint('a', { url: 'unix:///a' })), { code: 'UNAVAILABLE' })
  await store.register(ctx, endpoint('a', { url: publicUrl }))
  t.same(await urls(), [])
  state.down = false
  await registry.register(ctx, endpoint('a', { url: 'unix:///a' }))
  state.down = true
  await t.rejects(registry.register(ctx, endpoint('a', { url: 'unix:///b' })), { code: 'UNAVAILABLE' })
  t.same(await urls(), ['a unix:///a'])
})

t.test(
  'an endpoint that is done is not told any more, although the registry has not heard of it',
  async (t) => {
    const { store, state, registry, urls } = world()
    await registry.register(ctx, endpoint('a', { url: 'unix:///a' }))
    state.down = true
    await t.rejects(registry.unregister(ctx, endpoint('a')), { code: 'UNAVAILABLE' })
    t.same(await urls(store), [`a ${publicUrl}`])
    t.same(await urls(), [])
  },
)

t.test('an endpoint without url is refused', async (t) => {
  await t.rejects(world().registry.register(ctx, endpoint('a', { url: '' })), { code: 'INVALID_ARGUMENT' })
})
