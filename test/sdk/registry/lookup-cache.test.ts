import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain, type NetworkServiceEndpointRegistry } from '@nsm/sdk/registry-chain.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import type { LookupCacheOptions } from '@nsm/sdk/registry/kept-lookups.js'
import { lookupCache } from '@nsm/sdk/registry/lookup-cache.js'
import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { endpoint, endpointQuery } from '../../kit/registry-conformance.ts'
import { newStores, service } from '../../kit/registry-mesh.ts'
import { settled } from '../../kit/settled.ts'

/** A cache before a store whose lookups are counted. */
function world(options?: LookupCacheOptions) {
  const clock = handClock()
  const ctx = background({ clock })
  const stores = newStores()
  const asked = { lookups: 0, watches: 0, open: 0 }
  let breaks = new AbortController()
  let down = false
  const counted: NetworkServiceEndpointRegistry = {
    ...stores.networkServiceEndpoints,
    async *find(c, query) {
      if (down) throw new NsmError('UNAVAILABLE', 'down')
      asked[query.watch ? 'watches' : 'lookups'] += 1
      asked.open += query.watch ? 1 : 0
      try {
        const signal = query.watch ? AbortSignal.any([c.signal, breaks.signal]) : c.signal
        yield* stores.networkServiceEndpoints.find({ ...c, signal }, query)
      } finally {
        asked.open -= query.watch ? 1 : 0
      }
    },
  }
  const cache = lookupCache(networkServiceEndpointKind, options)
  const registry = registryChain([cache], counted)
  const find = async (pattern: Partial<NetworkServiceEndpoint>): Promise<string> => {
    const names: string[] = []
    for await (const { networkServiceEndpoint: found } of registry.find(ctx, endpointQuery(pattern)))
      names.push(found?.name ?? '')
    await settled()
    return names.toSorted().join()
  }
  return {
    clock,
    ctx,
    asked,
    cache,
    registry,
    store: stores.networkServiceEndpoints,
    find,
    breakAll: (isDown: boolean): void => {
      down = isDown
      breaks.abort()
      breaks = new AbortController()
    },
  }
}

const db = { networkServiceNames: ['db'] }

t.test('the third lookup of a service and what follows cost the registry nothing', async (t) => {
  const { ctx, store, find, asked } = world()
  await store.register(ctx, endpoint('a'))
  for (const _ of [1, 2, 3, 4]) t.equal(await find(db), 'a')
  t.same(asked, { lookups: 2, watches: 1, open: 1 })
  await store.register(ctx, endpoint('b'))
  await settled()
  t.equal(await find(db), 'a,b')
  t.equal(await find({ name: 'b' }), 'b', 'by name too')
  t.equal(await find({ name: 'b', ...db }), 'b')
  await store.unregister(ctx, endpoint('a'))
  await settled()
  t.equal(await find(db), 'b')
  t.equal(asked.lookups, 2)
})

t.test('lookups that differ are kept apart', async (t) => {
  const { ctx, store, find } = world()
  await store.register(ctx, endpoint('a', { url: 'tcp://near:1' }))
  await store.register(ctx, endpoint('b', { url: 'tcp://far:1' }))
  for (const _ of [1, 2, 3]) {
    t.equal(await find(db), 'a,b')
    t.equal(await find({ ...db, url: 'near' }), 'a')
  }
  t.equal(await find({ name: 'b', url: 'near' }), '')
})

t.test('that there is nothing is the registry’s own answer', async (t) => {
  const { ctx, store, find, asked } = world()
  t.equal(await find(db), '')
  t.equal(await find({ name: 'a' }), '')
  t.same(asked, { lookups: 2, watches: 0, open: 0 })
  await store.register(ctx, endpoint('a'))
  for (const _ of [1, 2, 3]) await find(db)
  await store.unregister(ctx, endpoint('a'))
  await settled()
  const before = asked.lookups
  t.equal(await find(db), '')
  t.equal(asked.lookups, before + 1)
})

t.test('what has expired is asked for', async (t) => {
  const { ctx, store, find, asked, clock } = world()
  await store.register(ctx, endpoint('a', { expirationTime: new Date(clock.now() + 1_000) }))
  for (const _ of [1, 2, 3]) await find(db)
  t.equal(asked.lookups, 2)
  await advance(clock, 1_000)
  await find(db)
  await find({ name: 'a' })
  t.equal(asked.lookups, 4)
})

t.test('a watch that breaks is not trusted, and opened again by the next lookup', async (t) => {
  const { ctx, store, find, asked, breakAll } = world()
  await store.register(ctx, endpoint('a'))
  for (const _ of [1, 2, 3]) await find(db)
  breakAll(true)
  await settled()
  await t.rejects(find(db), { code: 'UNAVAILABLE' })
  breakAll(false)
  for (const _ of [1, 2, 3]) t.equal(await find(db), 'a')
  t.same(asked, { lookups: 4, watches: 2, open: 1 })
})

t.test('what is registered through it is known at once', async (t) => {
  const { ctx, store, registry, find } = world()
  await store.register(ctx, endpoint('a'))
  for (const _ of [1, 2, 3]) await find(db)
  await registry.register(ctx, endpoint('b'))
  t.equal(await find(db), 'a,b')
  await registry.register(ctx, endpoint('a', { networkServiceNames: ['other'] }))
  t.equal(await find(db), 'b', 'also that it is of another service now')
  await registry.unregister(ctx, endpoint('b'))
  t.equal(await find(db), '')
})

t.test('nothing is watched for ever, for everything, or for many', async (t) => {
  const { ctx, store, find, asked, clock, cache } = world({ maxLookups: 2, maxItems: 3, idleMs: 1_000 })
  for (const name of ['a', 'b', 'c', 'd'])
    await store.register(ctx, endpoint(name, { networkServiceNames: [name, 'all'] }))
  await find({})
  await find({ name: 'a' })
  t.equal(asked.watches, 0)
  for (const name of ['a', 'b', 'c']) await find({ networkServiceNames: [name] })
  t.same([asked.watches, asked.open], [3, 2])
  await advance(clock, 1_000)
  t.equal(asked.open, 0)
  const before = asked.lookups
  for (const _ of [1, 2, 3]) t.equal(await find({ networkServiceNames: ['all'] }), 'a,b,c,d')
  t.same([asked.lookups, asked.watches, asked.open], [before + 3, 4, 0], 'more than it may keep')
  await find({ networkServiceNames: ['a'] })
  t.equal(asked.open, 1)
  cache.close()
  await settled()
  t.same([asked.open, clock.pending], [0, 0])
})

t.test('network services are known by their names', async (t) => {
  const { networkServices: store } = newStores()
  let lookups = 0
  const clock = handClock()
  const ctx = background({ clock })
  const registry = registryChain(
    [
      lookupCache(networkServiceKind),
      {
        name: 'counter',
        find(c, query, next) {
          lookups += query.watch ? 0 : 1
          return next.find(c, query)
        },
      },
    ],
    store,
  )
  const payloadOf = async (payload = '', name = 'db'): Promise<string | undefined> => {
    let found: string | undefined
    for await (const { networkService } of registry.find(ctx, {
      networkService: service(name, { payload }),
      watch: false,
    }))
      found = networkService?.payload
    await settled()
    return found
  }
  await store.register(ctx, service('db', { payload: 'IP' }))
  for (const _ of [1, 2, 3]) t.equal(await payloadOf(), 'IP')
  t.equal(await payloadOf('IP'), 'IP')
  t.equal(lookups, 1)
  t.equal(await payloadOf('ETHERNET'), undefined)
  await store.register(ctx, service('db', { payload: 'ETHERNET' }))
  await settled()
  t.equal(await payloadOf(), 'ETHERNET')
  t.equal(lookups, 2)
  await store.register(ctx, service('db@far'))
  for (const _ of [1, 2]) await payloadOf('', 'db@far')
  t.equal(lookups, 4, 'other domains are asked each time')
})
