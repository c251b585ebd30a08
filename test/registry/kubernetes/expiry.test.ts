import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import type { MemoryApi } from '../../kit/memory-api.ts'
import { endpoint, namesFound, watcher } from '../../kit/registry-conformance.ts'
import { periodMs, replicaWorld } from '../../kit/replica-world.ts'
import { settled } from '../../kit/settled.ts'

const ctx = background()
const path = '/apis/networkservicemesh.io/v1/namespaces/nsm-system/networkserviceendpoints'
const collection = '/apis/networkservicemesh.io/v1/networkserviceendpoints'

const stored = (api: MemoryApi, name: string): { spec: { expiration_time: { seconds: number } } } =>
  api.store.get(collection, 'nsm-system', name) as never
const endsAt = (api: MemoryApi, name: string): number => stored(api, name).spec.expiration_time.seconds * 1000
const writesOf = ({ calls }: MemoryApi): string[] =>
  calls.filter((call) => !call.startsWith('GET') && !call.endsWith('/status'))

/** Waits until a replica has written what it means to write. */
async function written(store: { readonly waiting: number }): Promise<void> {
  do await settled()
  while (store.waiting > 0)
}

t.test('the life that is written: exact at first, ahead for who refreshes', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  await store.register(ctx, alive('a'))
  t.equal(endsAt(api, 'a'), clock.now() + periodMs)
  await advance(clock, 40_000)
  await store.register(ctx, alive('a'))
  await settled()
  t.equal(endsAt(api, 'a'), clock.now() + 5 * periodMs)
  api.calls.length = 0
  for (let n = 0; n < 6; n++) {
    await advance(clock, 40_000)
    await store.register(ctx, alive('a'))
  }
  t.same(writesOf(api), [])
  await advance(clock, 40_000)
  await store.register(ctx, alive('a'))
  await settled()
  t.same(writesOf(api), [`PUT ${path}/a`], 'the next period would not be covered')
  await store.register(ctx, endpoint('far', { expirationTime: new Date('2050-01-01T00:00:00Z') }))
  t.equal(endsAt(api, 'far'), Date.UTC(2050, 0, 1))
})

t.test('a thousand endpoints cost five writes a second while they refresh 25 times a second', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  const count = 1000
  const items = Array.from({ length: count }, (_, n) =>
    alive(`e${n}`, { pathIds: [`spiffe://k8s.nsm/${n}`] }),
  )
  for (const item of items) await store.register(ctx, item)
  for (const item of items)
    await store.register(ctx, { ...item, expirationTime: new Date(clock.now() + periodMs) })
  await written(store)
  api.calls.length = 0
  const stepMs = 1000
  const started = clock.now()
  for (let n = 0; n < 280; n++) {
    clock.advance(stepMs)
    await settled()
    for (let i = 0; i < count / 40; i++) {
      const name = `e${((n % 40) * count) / 40 + i}`
      await store.register(ctx, alive(name, { pathIds: [`spiffe://k8s.nsm/${name.slice(1)}`] }))
    }
  }
  await written(store)
  const perSecond = writesOf(api).length / ((clock.now() - started) / 1000)
  t.ok(perSecond < 5, `${perSecond} writes a second`)
  t.equal(store.size, count)
})

t.test('what is not refreshed ends when its owner was told, although more is written', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  await advance(clock, periodMs)
  await store.register(ctx, alive('a'))
  await advance(clock, 1000)
  await store.register(ctx, alive('a'))
  await settled()
  t.equal(endsAt(api, 'a'), clock.now() + 5 * periodMs)
  const next = watcher(t, store)
  t.match(await next(), '+a')
  await advance(clock, periodMs - 1000)
  t.same(await namesFound(ctx, store), ['a'])
  await advance(clock, 4000)
  t.match(await next(), /^-a/)
  t.same(await namesFound(ctx, store), [])
})

t.test('the replica that was asked last decides; the other one hears of it before it acts', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const [a, b] = [await replica(), await replica()]
  await advance(clock, periodMs)
  await a.register(ctx, alive('x'))
  await settled()
  for (let n = 0; n < 8; n++) {
    await advance(clock, 30_000)
    await (n % 2 === 0 ? b : a).register(ctx, alive('x'))
    await settled()
  }
  t.notOk(api.calls.some((call) => call.startsWith('DELETE')))
  await advance(clock, periodMs + 5000)
  t.same(await namesFound(ctx, b), [])
  t.same(api.calls.filter((call) => call.startsWith('DELETE')).length, 1, 'by one of them, once')
})

t.test('others’ objects that are over go later, by lot, each once or nearly so', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const dying = await replica()
  const count = 200
  for (let n = 0; n < count; n++) await dying.register(ctx, alive(`e${n}`))
  dying.close()
  const heirs = [await replica(), await replica(), await replica()]
  api.calls.length = 0
  await advance(clock, periodMs)
  t.same(
    api.calls.filter((call) => call.startsWith('DELETE')),
    [],
    'not at once',
  )
  await advance(clock, 10_000)
  const before = api.calls.length
  await advance(clock, periodMs)
  t.same(
    heirs.map(({ size }) => size),
    [0, 0, 0],
  )
  const deletes = api.calls.slice(0).filter((call) => call.startsWith('DELETE')).length
  t.ok(deletes >= count && deletes < count * 1.5, `${deletes} deletes, ${before} calls before`)
})

t.test('one that is over and was removed unseen is not asked for again', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  await store.register(ctx, alive('a'))
  await settled()
  api.isSlow = true
  api.store.remove(collection, 'nsm-system', 'a')
  await advance(clock, 2 * periodMs)
  t.same(
    api.calls.filter((call) => call.startsWith('DELETE')),
    [`DELETE ${path}/a`],
  )
  t.equal(store.size, 0)
})

t.test('however many cannot be removed, the others are', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  const stuck = Array.from({ length: 300 }, (_, n) => `stuck${n}`)
  for (const name of [...stuck, 'other']) await store.register(ctx, alive(name))
  api.before = (call) => {
    if (call.startsWith('DELETE') && call.includes('stuck'))
      throw new NsmError('PERMISSION_DENIED', 'a webhook says no')
  }
  await advance(clock, 2 * periodMs)
  t.same(
    api.store.list(collection).filter(({ metadata }) => metadata.name === 'other'),
    [],
  )
  t.equal(store.size, stuck.length)
})

t.test('refreshed while it is being removed: it stays, or is made again', async (t) => {
  for (const isRemoved of [true, false]) {
    const { api, clock, replica, alive } = replicaWorld(t)
    const store = await replica()
    await advance(clock, periodMs)
    await store.register(ctx, alive('a'))
    await advance(clock, 1000)
    await store.register(ctx, alive('a'))
    await settled()
    t.equal(endsAt(api, 'a'), clock.now() + 5 * periodMs)
    let refreshed: Promise<unknown> | undefined
    let isRemoving = false
    api.calls.length = 0
    api.before = async (call) => {
      const isDelete = call.startsWith('DELETE')
      if (isDelete) {
        isRemoving = true
        refreshed = store.register(ctx, alive('a'))
      }
      // Either the removal is done first, or the write of the refresh is.
      if (isRemoving && isDelete !== isRemoved) await settled()
    }
    await advance(clock, periodMs + 3000)
    await refreshed
    t.ok(refreshed, 'it came at that moment')
    await advance(clock, 1000)
    t.equal(api.calls.includes(`POST ${path}`), isRemoved)
    t.same(await namesFound(ctx, store), ['a'])
    t.ok(endsAt(api, 'a') > clock.now())
  }
})

t.test('a refresh that is not written yet is shown', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  await advance(clock, periodMs)
  await store.register(ctx, alive('a'))
  api.before = async () => new Promise(() => undefined)
  await advance(clock, 40_000)
  await store.register(ctx, alive('a'))
  t.equal(store.waiting, 1)
  await advance(clock, 40_000)
  t.same(await namesFound(ctx, store), ['a'])
  t.ok((store.living('a')?.expirationTime?.getTime() ?? 0) > clock.now())
})

t.test(
  'API server away: nothing ends, refreshes are kept and written later, new ones are refused',
  async (t) => {
    const { api, clock, replica, alive } = replicaWorld(t)
    const [a, b] = [await replica(), await replica()]
    await advance(clock, periodMs)
    for (const name of ['lives', 'silent']) await a.register(ctx, alive(name))
    await settled()
    api.isAway = true
    for (let n = 0; n < 10; n++) {
      await advance(clock, 30_000)
      await b.register(ctx, alive('lives'))
      for (const store of [a, b]) {
        t.same(await namesFound(ctx, store), ['lives', 'silent'])
        for (const name of ['lives', 'silent'])
          t.ok((store.living(name)?.expirationTime?.getTime() ?? 0) > clock.now() + 20_000, 'and is shown so')
      }
    }
    await t.rejects(a.register(ctx, alive('new')), { code: 'UNAVAILABLE' })
    await t.rejects(a.register(ctx, alive('lives', { url: 'tcp://9:9' })), { code: 'UNAVAILABLE' })
    t.equal(b.waiting, 1)
    api.isAway = false
    await advance(clock, periodMs - 1000)
    t.equal(b.waiting, 0)
    t.same(await namesFound(ctx, a), ['lives', 'silent'], 'who lives has a period to say so')
    await b.register(ctx, alive('lives'))
    await advance(clock, 40_000)
    for (const store of [a, b]) t.same(await namesFound(ctx, store), ['lives'])
  },
)

t.test(
  'an object that cannot be written is no outage, however often that is tried: others end',
  async (t) => {
    const { api, clock, replica, alive } = replicaWorld(t)
    const store = await replica()
    await advance(clock, periodMs)
    await store.register(ctx, alive('silent'))
    api.before = (call) => {
      if (call.startsWith('POST')) throw new NsmError('UNAVAILABLE', 'failed calling webhook')
    }
    for (let n = 0; n < 350; n++) {
      await t.rejects(store.register(ctx, alive('refused')), { code: 'UNAVAILABLE' })
      await advance(clock, 200)
    }
    t.same(await namesFound(ctx, store), [])
  },
)

t.test('an API server without its storage is away, whatever it still answers', async (t) => {
  const { api, clock, stores, alive } = replicaWorld(t)
  const replica = stores()
  await settled()
  const { networkServiceEndpoints: store } = replica
  await advance(clock, periodMs)
  await store.register(ctx, alive('a'))
  api.before = (call) => {
    throw new NsmError(call.startsWith('POST') ? 'PERMISSION_DENIED' : 'DEADLINE_EXCEEDED', 'etcdserver')
  }
  for (let n = 0; n < 20; n++) {
    await advance(clock, 10_000)
    await t.rejects(store.register(ctx, alive('b')), { code: 'FAILED_PRECONDITION' })
    t.notOk(replica.isConnected)
  }
  t.same(await namesFound(ctx, store), ['a'])
})

for (const setMs of [3_600_000, -3_600_000, 31_536_000_000])
  t.test(`the machine’s time is set by ${setMs} ms: who refreshes stays, who does not goes`, async (t) => {
    const { api, clock, replica, alive } = replicaWorld(t)
    const store = await replica()
    await advance(clock, periodMs)
    for (const name of ['lives', 'new', 'silent']) await store.register(ctx, alive(name))
    await advance(clock, 30_000)
    for (const name of ['lives', 'silent']) await store.register(ctx, alive(name))
    await written(store)
    api.calls.length = 0
    clock.set(setMs)
    t.same(await namesFound(ctx, store), ['lives', 'new', 'silent'])
    await advance(clock, 30_000)
    t.same(await namesFound(ctx, store), ['lives', 'new', 'silent'])
    for (let n = 0; n < 3; n++) {
      await store.register(ctx, alive('lives'))
      t.ok((await namesFound(ctx, store)).includes('lives'))
      await advance(clock, 30_000)
    }
    t.same(await namesFound(ctx, store), ['lives'])
    t.same(writesOf(api).filter((call) => call.startsWith('DELETE')).length, 2)
    t.ok(endsAt(api, 'lives') > clock.now() && endsAt(api, 'lives') <= clock.now() + 5 * periodMs)
  })

t.test('unregistered while the API server is away: refused, and done when it is back', async (t) => {
  const { api, clock, replica, alive } = replicaWorld(t)
  const store = await replica()
  await store.register(ctx, alive('a'))
  await advance(clock, 1000)
  await store.register(ctx, alive('a'))
  await settled()
  api.isAway = true
  await t.rejects(store.unregister(ctx, endpoint('a')), { code: 'UNAVAILABLE' })
  api.isAway = false
  await advance(clock, periodMs + 10_000)
  t.same(await namesFound(ctx, store), [])
})

t.test(
  'a name whose owner and replica are gone is free a life after somebody else asked for it',
  async (t) => {
    const { api, clock, replica, alive } = replicaWorld(t)
    const store = await replica()
    // It has begun as after an outage, when nothing ends.
    await advance(clock, periodMs)
    const dying = await replica()
    for (const name of ['gone', 'lives']) {
      await dying.register(ctx, alive(name))
      await advance(clock, 1000)
      await dying.register(ctx, alive(name))
    }
    await written(dying)
    const thief = { pathIds: ['spiffe://k8s.nsm/next'] }
    for (const name of ['gone', 'lives']) {
      await t.rejects(store.register(ctx, alive(name, thief)), { code: 'PERMISSION_DENIED' })
      t.ok(endsAt(api, name) > clock.now() + 3 * periodMs)
      store.contest(name)
      await written(store)
      t.equal(endsAt(api, name), clock.now() + periodMs)
    }
    dying.close()
    store.contest('gone')
    store.contest('unknown')
    await advance(clock, periodMs - 20_000)
    // Its owner has heard of nothing, and comes as always.
    await store.register(ctx, alive('lives'))
    await advance(clock, 30_000)
    await t.rejects(store.register(ctx, alive('lives', thief)), { code: 'PERMISSION_DENIED' })
    await store.register(ctx, alive('gone', thief))
    t.same(store.living('gone')?.pathIds, thief.pathIds)
  },
)
