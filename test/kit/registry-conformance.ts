import {
  NetworkService,
  NetworkServiceEndpoint,
  type DeepPartial,
  type NetworkServiceEndpointQuery,
  type NetworkServiceEndpointResponse,
} from '@nsm/api/gen/registry.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import type { NetworkServiceEndpointRegistry, NetworkServiceRegistry } from '@nsm/sdk/registry-chain.js'
import t, { type Test } from 'tap'

/** A fresh, empty store. */
export interface Stores {
  readonly networkServices: NetworkServiceRegistry
  readonly networkServiceEndpoints: NetworkServiceEndpointRegistry
}

/** What every store of the registry does (wire contract §5.3, §5.6); one tap test per rule. */
export function registryConformance(name: string, make: (t: Test) => Promise<Stores>): void {
  t.test(`${name}: endpoints`, async (t) => {
    await registering(t, make)
    await matching(t, make)
    await watching(t, make)
  })
  t.test(`${name}: network services`, async (t) => services(t, make))
}

type Make = (t: Test) => Promise<Stores>

export function endpoint(name: string, more: Partial<NetworkServiceEndpoint> = {}): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({
    name,
    networkServiceNames: ['db'],
    networkServiceLabels: { db: { labels: { app: 'postgres' } } },
    url: `tcp://10.0.0.1:5001`,
    pathIds: ['spiffe://k8s.nsm/owner'],
    ...more,
  })
}

/** Names of everything that fits now, sorted. */
export async function namesFound(
  ctx: Ctx,
  registry: NetworkServiceEndpointRegistry,
  pattern: Partial<NetworkServiceEndpoint> = {},
): Promise<string[]> {
  const names: string[] = []
  for await (const response of registry.find(ctx, endpointQuery(pattern)))
    names.push(response.networkServiceEndpoint?.name ?? '')
  return names.sort()
}

export function endpointQuery(
  pattern: Partial<NetworkServiceEndpoint>,
  watch = false,
): NetworkServiceEndpointQuery {
  return { networkServiceEndpoint: NetworkServiceEndpoint.fromPartial(pattern), watch }
}

/** Reads a watch by hand; it ends with the test. */
export function watcher(
  t: Test,
  registry: NetworkServiceEndpointRegistry,
  pattern: Partial<NetworkServiceEndpoint> = {},
): () => Promise<string> {
  const controller = new AbortController()
  t.teardown(() => controller.abort())
  const ctx = background({ signal: controller.signal })
  const events = registry.find(ctx, endpointQuery(pattern, true))[Symbol.asyncIterator]()
  return async () => told((await events.next()).value as NetworkServiceEndpointResponse | undefined)
}

function told(response: NetworkServiceEndpointResponse | undefined): string {
  if (response === undefined) return 'end'
  const { networkServiceEndpoint: found, deleted } = response
  return `${deleted ? '-' : '+'}${found?.name} ${found?.url}`
}

async function registering(t: Test, make: Make): Promise<void> {
  const ctx = background()
  await t.test('register answers what is stored, a second one replaces it', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    const first = await store.register(ctx, endpoint('a'))
    t.match(first, { name: 'a', url: 'tcp://10.0.0.1:5001', pathIds: ['spiffe://k8s.nsm/owner'] })
    await store.register(ctx, endpoint('a', { url: 'tcp://10.0.0.2:5001', networkServiceNames: ['web'] }))
    t.same(await namesFound(ctx, store, { networkServiceNames: ['db'] }), [])
    t.same(await namesFound(ctx, store, { networkServiceNames: ['web'], url: '10.0.0.2' }), ['a'])
    t.same(await namesFound(ctx, store), ['a'])
  })

  await t.test('what is unknown is unregistered without complaint', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    await store.unregister(ctx, endpoint('nobody'))
    await store.register(ctx, endpoint('a'))
    await store.unregister(ctx, NetworkServiceEndpoint.fromPartial({ name: 'a' }))
    t.same(await namesFound(ctx, store), [])
  })
}

async function matching(t: Test, make: Make): Promise<void> {
  const ctx = background()
  await t.test('every field of a query narrows', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    const expirationTime = new Date('2050-01-02T03:04:05.600Z')
    await store.register(ctx, endpoint('a', { expirationTime }))
    await store.register(
      ctx,
      endpoint('b', { networkServiceNames: ['db', 'web'], url: 'tcp://10.0.0.22:5001' }),
    )
    const cases: [Partial<NetworkServiceEndpoint>, string[]][] = [
      [{}, ['a', 'b']],
      [{ name: 'a' }, ['a']],
      [{ name: 'A' }, []],
      [{ name: 'a', networkServiceNames: ['web'] }, []],
      [{ networkServiceNames: ['db'] }, ['a', 'b']],
      [{ networkServiceNames: ['db', 'web'] }, ['b']],
      [{ networkServiceNames: ['none'] }, []],
      [{ url: '0.0.2' }, ['b']],
      [{ url: '5001' }, ['a', 'b']],
      [{ networkServiceLabels: labels('db', { app: 'postgres' }) }, ['a', 'b']],
      [{ networkServiceLabels: labels('db', { app: 'mysql' }) }, []],
      [{ networkServiceLabels: labels('web', { app: 'postgres' }) }, []],
      [{ expirationTime: new Date('2050-01-02T03:04:05.100Z') }, ['a']],
      [{ expirationTime: new Date('2050-01-02T03:04:06Z') }, []],
    ]
    for (const [pattern, names] of cases)
      t.same(await namesFound(ctx, store, pattern), names, JSON.stringify(pattern))
  })

  await t.test('names of object members are only names', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    await store.register(ctx, endpoint('constructor', { networkServiceNames: ['toString'] }))
    t.same(await namesFound(ctx, store, { name: 'hasOwnProperty' }), [])
    t.same(await namesFound(ctx, store, { networkServiceNames: ['toString'] }), ['constructor'])
    t.same(
      await namesFound(ctx, store, { networkServiceLabels: labels('constructor', { name: 'Object' }) }),
      [],
    )
  })
}

function labels(service: string, of: Record<string, string>): NetworkServiceEndpoint['networkServiceLabels'] {
  return { [service]: { labels: of } }
}

async function watching(t: Test, make: Make): Promise<void> {
  const ctx = background()
  await t.test('a watch tells what is there, then what changes', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    await store.register(ctx, endpoint('a', { url: 'tcp://1:1' }))
    const next = watcher(t, store, { networkServiceNames: ['db'] })
    t.equal(await next(), '+a tcp://1:1')
    await store.register(ctx, endpoint('b', { url: 'tcp://2:2' }))
    t.equal(await next(), '+b tcp://2:2')
    await store.register(ctx, endpoint('other', { networkServiceNames: ['web'] }))
    await store.unregister(ctx, NetworkServiceEndpoint.fromPartial({ name: 'a' }))
    t.equal(await next(), '-a tcp://1:1', 'the last stored object, deleted')
    await store.register(ctx, endpoint('a', { url: 'tcp://3:3' }))
    t.equal(await next(), '+a tcp://3:3')
  })

  await t.test('a watch by name and one for everything hear the same object', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    const [byName, all] = [watcher(t, store, { name: 'a' }), watcher(t, store)]
    const heard = [byName(), all()]
    await store.register(ctx, endpoint('a', { networkServiceNames: [], url: 'tcp://1:1' }))
    t.same(await Promise.all(heard), ['+a tcp://1:1', '+a tcp://1:1'])
  })

  await t.test('a watch ends with its context, also while it waits', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    const controller = new AbortController()
    const watch = namesWatched(background({ signal: controller.signal }), store)
    setImmediate(() => controller.abort())
    t.same(await watch, [])
  })

  await t.test('a watch ends with its context, also while its reader is busy', async (t) => {
    const { networkServiceEndpoints: store } = await make(t)
    await store.register(ctx, endpoint('a'))
    const controller = new AbortController()
    let changes = 0
    for await (const _ of store.find(background({ signal: controller.signal }), endpointQuery({}, true))) {
      changes += 1
      if (changes === 1) await store.register(ctx, endpoint('a', { url: 'tcp://2:2' }))
      else controller.abort()
    }
    t.equal(changes, 2)
  })
}

async function namesWatched(ctx: Ctx, store: NetworkServiceEndpointRegistry): Promise<string[]> {
  const names: string[] = []
  for await (const { networkServiceEndpoint } of store.find(ctx, endpointQuery({}, true)))
    names.push(networkServiceEndpoint?.name ?? '')
  return names
}

async function services(t: Test, make: Make): Promise<void> {
  const ctx = background()
  await t.test('are found by name, payload and matches', async (t) => {
    const { networkServices: store } = await make(t)
    const matches = [
      { sourceSelector: { app: 'a' }, routes: [{ destinationSelector: { app: 'b' } }], fallthrough: true },
    ]
    await store.register(ctx, NetworkService.fromPartial({ name: 'db', payload: 'IP' }))
    await store.register(ctx, NetworkService.fromPartial({ name: 'web', payload: 'ETHERNET', matches }))
    const cases: [DeepPartial<NetworkService>, string[]][] = [
      [{}, ['db', 'web']],
      [{ name: 'db' }, ['db']],
      [{ name: 'db', payload: 'ETHERNET' }, []],
      [{ payload: 'ETHERNET' }, ['web']],
      [{ matches }, ['web']],
      [{ matches: [{ ...matches[0], fallthrough: false }] }, []],
    ]
    for (const [pattern, names] of cases) {
      const found: string[] = []
      const query = { networkService: NetworkService.fromPartial(pattern), watch: false }
      for await (const { networkService } of store.find(ctx, query)) found.push(networkService?.name ?? '')
      t.same(found.sort(), names, JSON.stringify(pattern))
    }
  })

  await t.test('an absent pattern asks for everything', async (t) => {
    const { networkServices: store } = await make(t)
    await store.register(ctx, NetworkService.fromPartial({ name: 'db' }))
    for await (const { networkService, deleted } of store.find(ctx, {
      networkService: undefined,
      watch: false,
    }))
      t.match({ networkService, deleted }, { networkService: { name: 'db' }, deleted: false })
  })
}
