import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { sharedRegistryServer } from '@nsm/registry/kubernetes/chains.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import t, { type Test } from 'tap'
import { testAuthority } from '../../kit/identity.ts'
import { within } from '../../kit/mesh.ts'
import { endpoint, namesFound } from '../../kit/registry-conformance.ts'
import { program, service } from '../../kit/registry-mesh.ts'
import { replicaWorld, type ReplicaWorld } from '../../kit/replica-world.ts'
import { settled } from '../../kit/settled.ts'
import { remoteRegistries } from '@nsm/sdk/chains/remote-registries.js'

interface Mesh extends ReplicaWorld {
  /** Calls of an identity to one of the two replicas. */
  as(path: string, replica: 0 | 1): Registries
}

/** Two replicas, each with its own identity, over mutual TLS. */
async function mesh(t: Test): Promise<Mesh> {
  const world = replicaWorld(t)
  const ca = await testAuthority('k8s.nsm')
  const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })
  const urls: string[] = []
  for (const n of [0, 1]) {
    const stores = world.stores({ clock: systemClock })
    await settled()
    const server = program(t, ca, `/ns/nsm-system/pod/registry-${n}`)
    const running = await server.serve(sharedRegistryServer({ tokens, stores, periodMs: 60_000 }))
    urls.push(running.urls[0] ?? '')
  }
  return {
    ...world,
    as: (path, replica) => {
      const { dial } = program(t, ca, path).dialer
      return remoteRegistries({ dial, url: urls[replica] ?? '' })
    },
  }
}

const idOf = (path: string): string => `spiffe://k8s.nsm${path}`

t.test('registered at one replica, refreshed at the other: the same registration', async (t) => {
  const { as } = await mesh(t)
  const [a, b] = [as('/ns/app/pod/nse', 0), as('/ns/app/pod/nse', 1)]
  const first = await a.networkServiceEndpoints.register(within(), endpoint('e', { pathIds: [] }))
  t.same(first.pathIds, [idOf('/ns/app/pod/nse'), idOf('/ns/nsm-system/pod/registry-0')])
  const lifeMs = (first.expirationTime?.getTime() ?? 0) - Date.now()
  t.ok(lifeMs > 50_000 && lifeMs <= 60_000, 'a minute')
  await settled()
  const bare = NetworkServiceEndpoint.fromPartial({
    ...first,
    expirationTime: undefined,
    initialRegistrationTime: undefined,
  })
  const again = await b.networkServiceEndpoints.register(within(), bare)
  t.same(again.initialRegistrationTime, first.initialRegistrationTime, 'since it was registered first')
  t.same(again.pathIds, [idOf('/ns/app/pod/nse'), idOf('/ns/nsm-system/pod/registry-1')])
  t.same(await namesFound(within(), a.networkServiceEndpoints), ['e'])
  await b.networkServiceEndpoints.unregister(within(), again)
  await settled()
  t.same(await namesFound(within(), a.networkServiceEndpoints), [])
  const anew = await a.networkServiceEndpoints.register(within(), bare)
  t.not(anew.initialRegistrationTime?.getTime(), undefined)
})

t.test('a name is its owner’s at both replicas', async (t) => {
  const { api, as } = await mesh(t)
  await as('/ns/app/pod/nse', 0).networkServiceEndpoints.register(within(), endpoint('e'))
  const thief = as('/ns/evil/pod/nse', 1).networkServiceEndpoints
  const denied = { code: 'PERMISSION_DENIED' }
  await t.rejects(thief.register(within(), endpoint('e')), denied)
  await t.rejects(thief.unregister(within(), endpoint('e')), denied)
  // Ahead, as for one that has refreshed and that another replica looks after.
  const path = '/apis/networkservicemesh.io/v1/networkserviceendpoints'
  const object = api.store.get(path, 'nsm-system', 'e')
  const seconds = Math.floor(Date.now() / 1000) + 300
  const spec = { ...(object?.['spec'] as object), expiration_time: { seconds } }
  api.store.put(path, { metadata: { namespace: 'nsm-system', name: 'e' }, ...object, spec })
  await settled()
  await t.rejects(thief.register(within(), endpoint('e')), denied)
  await settled()
  const now = api.store.get(path, 'nsm-system', 'e') as
    { spec?: { expiration_time?: { seconds?: number } } } | undefined
  t.ok(
    (now?.spec?.expiration_time?.seconds ?? Infinity) < seconds - 200,
    'it ends sooner, unless it is refreshed',
  )
})

t.test('a service that somebody wrote by hand stays as it is, whoever registers it', async (t) => {
  const { api, as } = await mesh(t)
  const path = '/apis/networkservicemesh.io/v1/networkservices'
  const matches = [{ routes: [{ destination_selector: { app: 'a' } }] }]
  const metadata = { namespace: 'nsm-system', name: 'db' }
  api.store.put(path, { kind: 'NetworkService', metadata, spec: { matches, payload: 'ETHERNET' } })
  await settled()
  const { networkServices } = as('/ns/app/pod/nse', 0)
  const answer = await networkServices.register(within(), service('db', { payload: 'ETHERNET' }))
  t.match(answer.matches, [{ routes: [{ destinationSelector: { app: 'a' } }] }])
  t.match(api.store.get(path, 'nsm-system', 'db'), { spec: { matches, payload: 'ETHERNET' } })
  await t.rejects(networkServices.register(within(), service('db', { payload: 'IP' })), {
    code: 'PERMISSION_DENIED',
    message: /db: .*the object nsm-system\/db, which was not registered/,
  })
  const other = await networkServices.register(within(), NetworkService.fromPartial({ name: 'web' }))
  t.equal(other.payload, 'IP')
})

t.test('names of other domains never come to the API server', async (t) => {
  const { api, as } = await mesh(t)
  api.calls.length = 0
  await t.rejects(as('/ns/app/pod/nse', 0).networkServiceEndpoints.register(within(), endpoint('e@other')), {
    code: 'FAILED_PRECONDITION',
    message: /NSM_PROXY_REGISTRY_URL/,
  })
  t.same(api.calls, [])
})
