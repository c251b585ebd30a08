import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import type { KubernetesStores } from '@nsm/registry/kubernetes/stores.js'
import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { endpoint, endpointQuery, namesFound } from '../kit/registry-conformance.ts'
import { until } from '../kit/until.ts'
import { endpointsPath, registryWorld, servicesPath } from './registry-world.ts'

const world = await registryWorld(t)
const { client } = world
const ctx = background()
type Endpoints = KubernetesStores['networkServiceEndpoints']

t.beforeEach(async () => world.clear())

/** As `limitLife` has it: lives so long from now. */
function alive(name: string, ms: number, more: Partial<NetworkServiceEndpoint> = {}): NetworkServiceEndpoint {
  return endpoint(name, { expirationTime: new Date(Date.now() + ms), ...more })
}

async function version(name: string): Promise<string | undefined> {
  return (await client.get(`${endpointsPath}/${name}`)).metadata.resourceVersion
}

/** Everything that a watch of all endpoints tells from now on. */
function heard(t: Test, store: Endpoints): string[] {
  const lines: string[] = []
  const controller = new AbortController()
  t.teardown(() => controller.abort())
  void (async () => {
    const events = store.find(background({ signal: controller.signal }), endpointQuery({}, true))
    for await (const { networkServiceEndpoint, deleted } of events)
      lines.push(`${deleted ? '-' : '+'}${networkServiceEndpoint?.name}`)
  })()
  return lines
}

const gone = (store: Endpoints, name: string): Promise<void> =>
  until(`${name} is gone`, async () => {
    await pause(50)
    return !(await namesFound(ctx, store)).includes(name)
  })

t.test('a refresh is seldom written: ahead, and again when another replica is asked', async (t) => {
  const [first, second] = [await world.replica(t), await world.replica(t)]
  const [a, b] = [first.networkServiceEndpoints, second.networkServiceEndpoints]
  const lifeMs = 60_000
  await a.register(ctx, alive('a', lifeMs))
  await until('it has a status', async () => {
    const { status } = await client.get(`${endpointsPath}/a`)
    return status !== undefined && a.waiting === 0
  })
  const registered = await version('a')
  const refreshed = async (store: Endpoints): Promise<string | undefined> => {
    const item = alive('a', lifeMs)
    t.same(
      (await store.register(ctx, item)).expirationTime,
      item.expirationTime,
      'what is answered is what was asked',
    )
    await until('it is written', () => store.waiting === 0)
    return version('a')
  }
  const ahead = await refreshed(a)
  t.not(ahead, registered, 'the first refresh is written')
  for (let n = 0; n < 5; n++) t.equal(await refreshed(a), ahead, 'those that follow are not')
  t.ok((a.living('a')?.expirationTime?.getTime() ?? 0) > Date.now() + 4 * lifeMs)
  await until(
    'the other replica knows',
    () => b.living('a')?.expirationTime?.getTime() === a.living('a')?.expirationTime?.getTime(),
  )
  const taken = await refreshed(b)
  t.not(taken, ahead, 'another replica must tell')
  t.equal(await refreshed(b), taken)
})

t.test('what is not refreshed is removed, what is refreshed at any replica stays all the time', async (t) => {
  const periodMs = 3000
  const replicas = [await world.replica(t, { periodMs }), await world.replica(t, { periodMs })] as const
  const stores = replicas.map((one) => one.networkServiceEndpoints)
  const [a, b] = [replicas[0].networkServiceEndpoints, replicas[1].networkServiceEndpoints]
  await a.register(ctx, alive('left', periodMs))
  await a.register(ctx, alive('left', periodMs))
  await a.register(ctx, alive('kept', periodMs))
  await until('both know', () => stores.every((store) => store.size === 2))
  const lines = [heard(t, a), heard(t, b)]
  for (let n = 0; n < 16; n++) {
    await stores[n % 3 === 0 ? 0 : 1]?.register(ctx, alive('kept', periodMs))
    await pause(500)
  }
  await Promise.all([gone(a, 'left'), gone(b, 'left')])
  t.ok(a.living('kept'))
  t.notOk([...(lines[0] ?? []), ...(lines[1] ?? [])].includes('-kept'), 'nobody heard that it had gone')
  await t.rejects(client.get(`${endpointsPath}/left`), { code: 'NOT_FOUND' })
})

t.test('a replica that dies leaves its registrations to the others', async (t) => {
  const periodMs = 1000
  const dying = await world.replica(t, { periodMs })
  await dying.networkServiceEndpoints.register(ctx, alive('orphan', periodMs))
  await dying.networkServiceEndpoints.register(ctx, alive('orphan', periodMs))
  await until('it is written', () => dying.networkServiceEndpoints.waiting === 0)
  dying.close()
  const { networkServiceEndpoints: other } = await world.replica(t, { periodMs })
  t.ok(other.living('orphan'), 'its owner may come to the other one')
  await other.register(ctx, alive('orphan', periodMs))
  await gone(other, 'orphan')
})

t.test(
  'replicas and people change one object at once: nothing fails, all agree, nothing of theirs is lost',
  async (t) => {
    const replicas = [await world.replica(t), await world.replica(t), await world.replica(t)]
    const stores = replicas.map((one) => one.networkServiceEndpoints)
    const rounds = Array.from({ length: 20 }, (_, n) => n)
    const registering = stores.map(async (store, which) => {
      for (const n of rounds) {
        await store.register(ctx, alive('a', 60_000, { url: `tcp://${which}:${n}` }))
        await pause(40 * Math.random())
      }
    })
    await until('it is there', async () =>
      client.get(`${endpointsPath}/a`).then(
        () => true,
        () => false,
      ),
    )
    for (const n of rounds)
      await client.patch(`${endpointsPath}/a`, { metadata: { labels: { [`l${n}`]: 'x' } } }, 'merge')
    await Promise.all(registering)
    const { metadata, spec } = (await client.get(`${endpointsPath}/a`)) as {
      metadata: { labels?: object }
      spec?: { url?: string }
    }
    t.equal(Object.keys(metadata.labels ?? {}).length, rounds.length)
    await until('all agree', () => stores.every((store) => store.living('a')?.url === spec?.url))
    await Promise.all(stores.map(async (store) => store.unregister(ctx, endpoint('a'))))
    await until('all agree', () => stores.every((store) => store.size === 0))
  },
)

t.test('a name is its owner’s at every replica, and of who wrote it by hand', async (t) => {
  const [first, second] = [await world.replica(t), await world.replica(t)]
  const thief = { pathIds: ['spiffe://k8s.nsm/thief'] }
  const denied = { code: 'PERMISSION_DENIED', message: /the name belongs to/ }
  const both = [first, second].map(async ({ networkServiceEndpoints: store }, n) =>
    store.register(ctx, alive('a', 60_000, { pathIds: [`spiffe://k8s.nsm/${n}`] })).then(
      () => n,
      (err: unknown) => NsmError.from(err).code,
    ),
  )
  const results = await Promise.all(both)
  t.same(results.filter((one) => one === 'PERMISSION_DENIED').length, 1, 'one of two who come at once has it')
  // Not known there yet, perhaps: it looks before it acts.
  await first.networkServiceEndpoints.register(ctx, alive('b', 60_000))
  await t.rejects(second.networkServiceEndpoints.unregister(ctx, endpoint('b', thief)), denied)
  await t.rejects(second.networkServiceEndpoints.register(ctx, alive('b', 60_000, thief)), denied)
  const byHand = {
    apiVersion: 'networkservicemesh.io/v1',
    kind: 'NetworkService',
    metadata: { name: 'hand' },
    spec: {},
  }
  await client.create(servicesPath, byHand)
  const hand = NetworkService.fromPartial({ name: 'hand', payload: 'ETHERNET', ...thief })
  await t.rejects(first.networkServices.register(ctx, hand), denied)
  t.equal(first.networkServices.ownerOf('hand'), 'the object nsm-system/hand, which was not registered')
  const open = await world.replica(t, { isOwned: false })
  await open.networkServices.register(ctx, hand)
  t.equal(open.networkServices.living('hand')?.payload, 'ETHERNET')
})

t.test(
  'API server away for longer than registrations live: nothing is lost, nothing flaps, news arrives after',
  async (t) => {
    const periodMs = 3000
    const replicas = [await world.replica(t, { periodMs }), await world.replica(t, { periodMs })] as const
    const [a, b] = [replicas[0].networkServiceEndpoints, replicas[1].networkServiceEndpoints]
    await a.register(ctx, alive('lives', periodMs))
    await a.register(ctx, alive('silent', periodMs))
    await until('both know', () => b.size === 2)
    const lines = [heard(t, a), heard(t, b)]
    await world.stopApiServer()
    for (let n = 0; n < 10; n++) {
      await b.register(ctx, alive('lives', periodMs))
      await pause(1000)
      for (const store of [a, b])
        t.same(await namesFound(ctx, store), ['lives', 'silent'], `lookups go on: ${n}`)
      const shown = b.living('lives')?.expirationTime?.getTime() ?? 0
      t.ok(shown > Date.now(), 'nobody takes it for over')
    }
    t.notOk(replicas[0].isConnected)
    await t.rejects(a.register(ctx, alive('new', periodMs)), { code: 'UNAVAILABLE' })
    await t.rejects(a.register(ctx, alive('lives', periodMs, { url: 'tcp://9:9' })), { code: 'UNAVAILABLE' })
    await t.rejects(a.unregister(ctx, endpoint('lives')), { code: 'UNAVAILABLE' })
    await world.startApiServer()
    let news: unknown
    await until('the new one can be registered', async () => {
      await pause(100)
      news = await a.register(ctx, alive('new', 60_000)).catch(() => undefined)
      return news !== undefined
    })
    const stop = Date.now() + 4 * periodMs
    while (Date.now() < stop) {
      await b.register(ctx, alive('lives', periodMs))
      await pause(500)
    }
    await until('both know', () => b.living('new') !== undefined)
    t.notOk([...(lines[0] ?? []), ...(lines[1] ?? [])].includes('-lives'), 'nobody heard that it had gone')
    t.ok(a.living('lives'))
    await Promise.all([gone(a, 'silent'), gone(b, 'silent')])
  },
)
