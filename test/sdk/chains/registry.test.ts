import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { background, withValue, type Ctx } from '@nsm/sdk/ctx.js'
import type { Peer } from '@nsm/sdk/peer.js'
import type { NetworkServiceEndpointRegistry } from '@nsm/sdk/registry-chain.js'
import type { Token, TokenGenerator } from '@nsm/sdk/tokens.js'
import { newCall, outgoingCall } from '@nsm/sdk/transport/call.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { endpoint, endpointQuery, namesFound, watcher } from '../../kit/registry-conformance.ts'
import { program, registryMesh, service } from '../../kit/registry-mesh.ts'
import { until } from '../../kit/until.ts'

/** Gives up after a while, so that a hanging test fails. */
const soon = (): Ctx => ({
  ...background({ signal: AbortSignal.timeout(10_000) }),
  deadlineMs: Date.now() + 10_000,
})

async function find(
  registry: NetworkServiceEndpointRegistry,
  name: string,
): Promise<NetworkServiceEndpoint[]> {
  const found: NetworkServiceEndpoint[] = []
  for await (const { networkServiceEndpoint } of registry.find(soon(), endpointQuery({ name })))
    if (networkServiceEndpoint !== undefined) found.push(networkServiceEndpoint)
  return found
}

const minute = 60_000

t.test('an endpoint registers through its nsmgr and is found from here and from afar', async (t) => {
  const mesh = await registryMesh(t)
  const nse = mesh.client('/ns/app/pod/nse')
  const before = Date.now()
  const answer = await nse.networkServiceEndpoints.register(
    soon(),
    endpoint('a', { url: 'tcp://127.0.0.1:9', pathIds: [] }),
  )
  t.equal(answer.url, 'tcp://127.0.0.1:9', 'the caller hears its own url')
  t.same(
    answer.pathIds,
    ['/ns/app/pod/nse', '/ns/nsm-system/pod/nsmgr', '/ns/nsm-system/pod/registry'].map(
      (p) => `spiffe://k8s.nsm${p}`,
    ),
  )
  t.ok((answer.expirationTime?.getTime() ?? 0) <= Date.now() + minute)
  t.ok((answer.expirationTime?.getTime() ?? 0) >= before + minute)
  t.ok((answer.initialRegistrationTime?.getTime() ?? 0) >= before)

  const forwarder = mesh.client('/ns/nsm-system/pod/forwarder')
  t.match(await find(forwarder.networkServiceEndpoints, 'a'), [
    {
      url: 'tcp://127.0.0.1:9',
      networkServiceLabels: { db: { labels: { app: 'postgres', nodeName: 'node-1' } } },
    },
  ])
  const elsewhere = mesh.client('/ns/nsm-system/pod/forwarder-2', mesh.registryUrl)
  t.match(await find(elsewhere.networkServiceEndpoints, 'a'), [{ url: 'tcp://192.0.2.1:5001' }])
  t.match(await find(mesh.nsmgr.local.networkServiceEndpoints, 'a'), [{ url: 'tcp://127.0.0.1:9' }])

  await nse.networkServiceEndpoints.unregister(soon(), answer)
  t.same(await namesFound(soon(), mesh.stores.networkServiceEndpoints), [])
})

t.test('network services: the payload is IP unless told, a watch hears of changes', async (t) => {
  const mesh = await registryMesh(t)
  const { networkServices } = mesh.client('/ns/app/pod/nse')
  const ctx = soon()
  const controller = new AbortController()
  const query = { networkService: service('db'), watch: true }
  const events = networkServices.find({ ...ctx, signal: controller.signal }, query)[Symbol.asyncIterator]()
  const first = events.next()
  t.match(await networkServices.register(ctx, service('db')), { name: 'db', payload: 'IP' })
  t.match(await first, { value: { networkService: { name: 'db', payload: 'IP' }, deleted: false } })
  await networkServices.unregister(ctx, service('db'))
  t.match(await events.next(), { value: { networkService: { name: 'db' }, deleted: true } })
  controller.abort()
})

t.test('a name belongs to its owner until it is unregistered', async (t) => {
  const mesh = await registryMesh(t)
  const [owner, other] = [mesh.client('/ns/app/pod/nse'), mesh.plain('/ns/evil/pod/nse')]
  await owner.networkServiceEndpoints.register(soon(), endpoint('a'))
  await owner.networkServices.register(soon(), service('db'))
  const denied = { code: 'PERMISSION_DENIED', message: /belongs to spiffe:\/\/k8s.nsm\/ns\/app\/pod\/nse/ }
  await t.rejects(
    other.networkServiceEndpoints.register(soon(), endpoint('a', { url: 'tcp://6.6.6.6:6' })),
    denied,
  )
  await t.rejects(other.networkServices.register(soon(), service('db', { payload: 'ETHERNET' })), denied)
  await t.rejects(other.networkServiceEndpoints.unregister(soon(), endpoint('a')), denied)
  t.equal((await find(owner.networkServiceEndpoints, 'a')).length, 1)
  await owner.networkServiceEndpoints.unregister(soon(), endpoint('a'))
  t.match(await other.networkServiceEndpoints.register(soon(), endpoint('a')), { name: 'a' })
})

t.test('replicas share the service that one of them owns', async (t) => {
  const mesh = await registryMesh(t)
  const replicas = ['1', '2'].map((n) => mesh.client(`/ns/app/pod/nse-${n}`).networkServices)
  const matches = [{ sourceSelector: {}, routes: [], fallthrough: true, metadata: undefined }]
  await replicas[0]?.register(soon(), service('db', { matches }))
  const answer = await replicas[1]?.register(soon(), service('db', { payload: 'IP' }))
  t.match(answer, { payload: 'IP', matches: [{ fallthrough: true }] })
  t.equal(answer?.pathIds[0], 'spiffe://k8s.nsm/ns/app/pod/nse-2')
  for await (const { networkService } of mesh.stores.networkServices.find(soon(), {
    networkService: service('db'),
    watch: false,
  }))
    t.equal(networkService?.pathIds[0], 'spiffe://k8s.nsm/ns/app/pod/nse-1')
  const other = mesh.plain('/ns/app/pod/nse-2').networkServices
  const denied = { code: 'PERMISSION_DENIED', message: /belongs to/ }
  await t.rejects(
    other.register(soon(), service('db', { matches: [{ ...matches[0]!, fallthrough: false }] })),
    denied,
  )
  await t.rejects(other.unregister(soon(), service('db')), denied)
})

t.test('path_ids in the message do not make an owner', async (t) => {
  const mesh = await registryMesh(t)
  const victim = 'spiffe://k8s.nsm/ns/app/pod/victim'
  const answer = await mesh
    .client('/ns/evil/pod/nse')
    .networkServiceEndpoints.register(soon(), endpoint('a', { pathIds: [victim, victim, victim] }))
  t.equal(answer.pathIds[0], 'spiffe://k8s.nsm/ns/evil/pod/nse')
})

t.test('what breaks a bound is refused at once, naming the field', async (t) => {
  const mesh = await registryMesh(t)
  const { networkServiceEndpoints, networkServices } = mesh.client('/ns/app/pod/nse')
  const bad: [Partial<NetworkServiceEndpoint>, RegExp][] = [
    [{ name: 'x'.repeat(254) }, /^name has a text of 254/],
    [{ name: 'a\nb' }, /^name has a control character/],
    [{ networkServiceNames: Array.from({ length: 65 }, (_, n) => `s${n}`) }, /^network_service_names has 65/],
    [{ url: `tcp://${'x'.repeat(3000)}` }, /^url/],
    [{ url: '' }, /^url of network service endpoint a is empty/],
    [{ expirationTime: new Date(1) }, /^expiration_time 1970/],
    [{ networkServiceLabels: { db: { labels: { a: 'x'.repeat(2000) } } } }, /^network_service_labels/],
  ]
  for (const [more, message] of bad)
    await t.rejects(networkServiceEndpoints.register(soon(), endpoint('a', more)), {
      code: 'INVALID_ARGUMENT',
      message,
    })
  await t.rejects(networkServices.register(soon(), service('x'.repeat(254))), { code: 'INVALID_ARGUMENT' })
  t.match(
    await networkServiceEndpoints.register(
      soon(),
      endpoint('a', { expirationTime: new Date(253_402_300_799_000) }),
    ),
    {
      name: 'a',
    },
  )
  const [kept] = await find(networkServiceEndpoints, 'a')
  t.ok((kept?.expirationTime?.getTime() ?? Infinity) <= Date.now() + minute, 'the year 9999 becomes a minute')
})

t.test('names of other domains need a proxy', async (t) => {
  const mesh = await registryMesh(t)
  const { networkServiceEndpoints } = mesh.plain('/ns/app/pod/nse')
  await t.rejects(networkServiceEndpoints.register(soon(), endpoint('a@far', { networkServiceNames: [] })), {
    code: 'FAILED_PRECONDITION',
    message: /NSM_PROXY_REGISTRY_URL/,
  })
  await t.rejects(namesFound(soon(), networkServiceEndpoints, { networkServiceNames: ['db@far'] }), {
    code: 'FAILED_PRECONDITION',
  })
  const far = await registryMesh(t)
  const near = await registryMesh(t, { proxy: far.stores })
  await near.client('/ns/app/pod/nse').networkServiceEndpoints.register(soon(), endpoint('a@far'))
  t.same(await namesFound(soon(), far.stores.networkServiceEndpoints), ['a@far'])
  t.same(await namesFound(soon(), near.stores.networkServiceEndpoints), [])
})

t.test(
  'after a restart of the registry everything is there again, first registered when it was',
  async (t) => {
    const mesh = await registryMesh(t)
    const { networkServiceEndpoints, networkServices } = mesh.client('/ns/app/pod/nse')
    await networkServices.register(soon(), service('db'))
    const { initialRegistrationTime } = await networkServiceEndpoints.register(soon(), endpoint('a'))
    await mesh.restartRegistry()
    await until('the endpoint is registered again', async () => {
      const names = await namesFound(soon(), mesh.stores.networkServiceEndpoints)
      return names.length === 1
    })
    t.match(await find(networkServiceEndpoints, 'a'), [{ initialRegistrationTime }])
    await networkServiceEndpoints.unregister(soon(), endpoint('a'))
  },
)

t.test('an endpoint that is not refreshed is unregistered by its nsmgr', async (t) => {
  const nsmgrClock = handClock(Date.now())
  const mesh = await registryMesh(t, { nsmgrClock })
  const { networkServiceEndpoints } = mesh.plain('/ns/app/pod/nse')
  await networkServiceEndpoints.register(soon(), endpoint('a'))
  t.same(await namesFound(soon(), mesh.stores.networkServiceEndpoints), ['a'])
  nsmgrClock.advance(minute)
  await until('it is gone', async () => {
    const names = await namesFound(soon(), mesh.stores.networkServiceEndpoints)
    return names.length === 0
  })
})

t.test('a watch through the nsmgr tells local endpoints by their real urls', async (t) => {
  const mesh = await registryMesh(t)
  const nse = mesh.client('/ns/app/pod/nse')
  const next = watcher(t, mesh.client('/ns/nsm-system/pod/forwarder').networkServiceEndpoints)
  const first = next()
  await nse.networkServiceEndpoints.register(soon(), endpoint('a', { url: 'tcp://127.0.0.1:9' }))
  t.equal(await first, '+a tcp://127.0.0.1:9')
  await mesh.stores.networkServiceEndpoints.register(
    soon(),
    endpoint('stale', { url: 'tcp://192.0.2.1:5001' }),
  )
  await mesh.stores.networkServiceEndpoints.register(soon(), endpoint('far', { url: 'tcp://192.0.2.2:5001' }))
  t.equal(await next(), '+far tcp://192.0.2.2:5001', 'an endpoint that this nsmgr does not know is not told')
})

t.test('a caller without a registry path is served, but not told one', async (t) => {
  const mesh = await registryMesh(t)
  const { dialer } = program(t, mesh.ca, '/ns/app/pod/nse')
  const remote = await dialer.dial(soon(), mesh.nsmgrUrl)
  const call = newCall()
  const ctx = withValue(soon(), outgoingCall, call)
  t.match(await remote.networkServiceEndpoints.register(ctx, endpoint('a')), {
    pathIds: ['spiffe://k8s.nsm/ns/app/pod/nse', 'spiffe://k8s.nsm/ns/nsm-system/pod/nsmgr'],
  })
  t.equal(call.responseHeaders.get('path'), undefined)
  call.requestHeaders.set('path', '{"Index":0,"PathSegments":null}')
  await remote.networkServiceEndpoints.register(ctx, endpoint('a'))
  t.match(call.responseHeaders.get('path'), /^{"Index":0,"PathSegments":\[({"token":"[\w.-]+"},?){3}\]}$/)
  for (const path of ['', '{', '[]', '{"Index":1}', '{"Index":-1,"PathSegments":[{}]}']) {
    call.requestHeaders.set('path', path)
    const refused = { code: 'INVALID_ARGUMENT', message: /^metadata path/ }
    await t.rejects(remote.networkServiceEndpoints.register(ctx, endpoint('a')), refused, path)
  }
  remote.release()
})

t.test('tokens that say something else than their session are refused', async (t) => {
  const mesh = await registryMesh(t)
  const self = '/ns/evil/pod/nse'
  const forged: [string, TokenGenerator, RegExp][] = [
    ['of another', (peer) => forge(peer, { sub: 'spiffe://k8s.nsm/ns/app/pod/nse' }), /not of the caller/],
    ['for another', (peer) => forge(peer, { aud: ['spiffe://k8s.nsm/other'] }), /not made for/],
    ['expired', (peer) => forge(peer, { exp: 1 }), /expired/],
    [
      'by another key',
      (peer) => forge(peer, {}, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
      /not signed/,
    ],
    ['no token', () => ({ token: 'x', expires: new Date() }), /not a token/],
  ]
  for (const [what, tokens, message] of forged) {
    const remote = await program(t, mesh.ca, self, tokens).dialer.dial(soon(), mesh.registryUrl)
    const denied = { code: 'PERMISSION_DENIED', message }
    await t.rejects(remote.networkServiceEndpoints.register(soon(), endpoint('a')), denied, what)
    remote.release()
  }
  t.same(await namesFound(soon(), mesh.stores.networkServiceEndpoints), [])
})

function forge(peer: Peer, claims: Partial<Parameters<typeof signEs256>[0]>, key?: KeyObject): Token {
  const expires = new Date(Date.now() + minute)
  const honest = { sub: peer.localSvid.id, aud: [peer.spiffeId], exp: Math.floor(expires.getTime() / 1000) }
  return { token: signEs256({ ...honest, ...claims }, key ?? peer.localSvid.privateKey), expires }
}
