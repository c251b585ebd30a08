import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { background } from '@nsm/sdk/ctx.js'
import t from 'tap'
import { endpoint, namesFound, watcher } from '../kit/registry-conformance.ts'
import { until } from '../kit/until.ts'
import { endpointsPath, registryWorld, resources, servicesPath } from './registry-world.ts'

const world = await registryWorld(t)
const { client } = world
const ctx = background()

t.beforeEach(async () => world.clear())

function service(name: string, spec: object, namespace = 'nsm-system'): KubernetesObject {
  return {
    apiVersion: 'networkservicemesh.io/v1',
    kind: 'NetworkService',
    metadata: { name, namespace },
    spec,
  }
}

function nse(name: string, spec: object, namespace = 'nsm-system'): KubernetesObject {
  return { ...service(name, spec, namespace), kind: 'NetworkServiceEndpoint' }
}

/** The condition `Ready`, when it has come to say so. */
async function condition(path: string, reason: string): Promise<Record<string, unknown>> {
  let found: Record<string, unknown> | undefined
  await until(`${path} is ${reason}`, async () => {
    const { status } = (await client.get(path)) as { status?: { conditions?: Record<string, unknown>[] } }
    found = status?.conditions?.find((one) => one['type'] === 'Ready' && one['reason'] === reason)
    return found !== undefined
  })
  return found ?? {}
}

t.test(
  'what is registered is written as upstream writes it, and read again by another replica',
  async (t) => {
    const store = (await world.replica(t)).networkServiceEndpoints
    const item = NetworkServiceEndpoint.fromPartial({
      name: 'nse-1',
      networkServiceNames: ['db', 'web'],
      networkServiceLabels: { db: { labels: { app: 'postgres' } }, web: { labels: {} } },
      url: 'tcp://10.0.0.1:5001',
      expirationTime: new Date('2050-01-02T03:04:05.600Z'),
      initialRegistrationTime: new Date('2026-01-01T00:00:00Z'),
      pathIds: ['spiffe://k8s.nsm/owner', 'spiffe://k8s.nsm/nsmgr'],
    })
    await store.register(ctx, item)
    const { spec, metadata } = await client.get(`${endpointsPath}/nse-1`)
    t.equal(metadata.name, 'nse-1')
    t.same(spec, {
      name: 'nse-1',
      network_service_names: ['db', 'web'],
      network_service_labels: { db: { labels: { app: 'postgres' } }, web: {} },
      url: 'tcp://10.0.0.1:5001',
      expiration_time: { seconds: 2_524_705_445, nanos: 600_000_000 },
      initial_registration_time: { seconds: 1_767_225_600 },
      path_ids: ['spiffe://k8s.nsm/owner', 'spiffe://k8s.nsm/nsmgr'],
    })
    t.same((await world.replica(t)).networkServiceEndpoints.living('nse-1'), item)
  },
)

t.test('what is written by hand, in any namespace, is found; unknown fields stay', async (t) => {
  const { networkServices, networkServiceEndpoints } = await world.replica(t)
  const matches = [
    { source_selector: { app: 'firewall' }, routes: [{ destination_selector: { app: 'gateway' } }] },
    {
      source_selector: null,
      routes: [{ destination_selector: { app: 'firewall' }, weight: 1 }],
      fallthrough: true,
    },
  ]
  await client.create(`${resources}/namespaces/app/networkservices`, service('chain', { matches }, 'app'))
  await client.create(
    servicesPath,
    service('plain', { payload: 'ETHERNET', name: 'other', later: { on: [1] } }),
  )
  await client.create(endpointsPath, nse('static', { network_service_names: ['other'], url: 'tcp://1:1' }))
  await until('they are known', () => networkServices.size === 2 && networkServiceEndpoints.size === 1)
  t.match(networkServices.living('chain'), {
    payload: 'IP',
    matches: [
      { sourceSelector: { app: 'firewall' }, routes: [{ destinationSelector: { app: 'gateway' } }] },
      { sourceSelector: {}, fallthrough: true },
    ],
  })
  t.match(networkServices.living('other'), { name: 'other', payload: 'ETHERNET' })
  t.same(await namesFound(ctx, networkServiceEndpoints, { networkServiceNames: ['other'] }), ['static'])
  await condition(`${resources}/namespaces/app/networkservices/chain`, 'Registered')

  await client.create(
    servicesPath,
    service('kept', { payload: 'IP', path_ids: ['spiffe://k8s.nsm/a'], later: { on: [1] } }),
  )
  await until('it is known', () => networkServices.living('kept') !== undefined)
  const kept = NetworkService.fromPartial({
    name: 'kept',
    payload: 'ETHERNET',
    pathIds: ['spiffe://k8s.nsm/a'],
  })
  await networkServices.register(ctx, kept)
  t.match(await client.get(`${servicesPath}/kept`), { spec: { payload: 'ETHERNET', later: { on: [1] } } })
})

t.test('what cannot be read is skipped, says which field, and is served once it is right', async (t) => {
  const { networkServiceEndpoints: store } = await world.replica(t)
  await client.create(endpointsPath, nse('bad', { network_service_names: ['db', ''], url: 'tcp://1:1' }))
  await store.register(ctx, endpoint('good'))
  const path = `${endpointsPath}/bad`
  const { status, message, observedGeneration } = await condition(path, 'InvalidSpec')
  t.match(
    { status, message, observedGeneration },
    {
      status: 'False',
      message: 'not served: network_service_names is empty',
      observedGeneration: 1,
    },
  )
  t.same(await namesFound(ctx, store), ['good'])
  await t.rejects(store.register(ctx, endpoint('bad')), {
    code: 'PERMISSION_DENIED',
    message: /the object nsm-system\/bad, which cannot be read: network_service_names is empty/,
  })
  await client.patch(path, { spec: { network_service_names: ['db'] } }, 'merge')
  t.match(await condition(path, 'Registered'), { status: 'True', observedGeneration: 2 })
  t.same(await namesFound(ctx, store), ['bad', 'good'])
  for (const wrong of [{ url: 5 }, { network_service_names: 'db' }, { expiration_time: { nanos: 1e9 } }])
    await t.rejects(client.create(endpointsPath, nse('wrong', wrong)), { code: 'INVALID_ARGUMENT' })
})

t.test('one of several objects with one name is served: the registered one, else the oldest', async (t) => {
  const { networkServiceEndpoints: store } = await world.replica(t)
  const elsewhere = `${resources}/namespaces/app/networkserviceendpoints`
  await client.create(elsewhere, nse('twin', { network_service_names: ['db'], url: 'tcp://2:2' }, 'app'))
  const next = watcher(t, store, { name: 'twin' })
  t.equal(await next(), '+twin tcp://2:2')
  await store.register(ctx, endpoint('twin', { url: 'tcp://1:1' }))
  t.equal(await next(), '+twin tcp://1:1')
  t.match(await condition(`${elsewhere}/twin`, 'NameTaken'), {
    message: 'not served: nsm-system/twin has this name',
  })
  await store.unregister(ctx, endpoint('twin'))
  t.equal(await next(), '+twin tcp://2:2')
  await condition(`${elsewhere}/twin`, 'Registered')
  await client.delete(`${elsewhere}/twin`)
  t.equal(await next(), '-twin tcp://2:2')
})

t.test('a service says how many endpoints it has', async (t) => {
  const [first, second] = [await world.replica(t), await world.replica(t)]
  await first.networkServices.register(ctx, NetworkService.fromPartial({ name: 'db', payload: 'IP' }))
  const says = async (count: number): Promise<void> =>
    until(`it has ${count}`, async () => {
      const { status } = (await client.get(`${servicesPath}/db`)) as { status?: { endpoints?: number } }
      return status?.endpoints === count
    })
  await says(0)
  await first.networkServiceEndpoints.register(ctx, endpoint('a'))
  await second.networkServiceEndpoints.register(ctx, endpoint('b'))
  await says(2)
  t.equal(second.networkServices.size, 1)
  await second.networkServiceEndpoints.unregister(ctx, endpoint('a'))
  await says(1)
})

t.test('names that no object can have are refused, and unregistering them is fine', async (t) => {
  const { networkServiceEndpoints: store } = await world.replica(t)
  for (const name of ['Capital', 'a_b', '-a', 'a..b', 'x'.repeat(254), 'a@b']) {
    await t.rejects(store.register(ctx, endpoint(name)), {
      code: 'INVALID_ARGUMENT',
      message: /cannot be the name of a Kubernetes object/,
    })
    await store.unregister(ctx, endpoint(name))
  }
  await store.register(ctx, endpoint(`${'x'.repeat(63)}.y`))
})

t.test('people find their way: short names, columns, explanations', async (t) => {
  const { networkServices, networkServiceEndpoints } = await world.replica(t)
  await networkServices.register(ctx, NetworkService.fromPartial({ name: 'db', payload: 'IP' }))
  await networkServiceEndpoints.register(ctx, endpoint('a'))
  await condition(`${servicesPath}/db`, 'Registered')
  await condition(`${endpointsPath}/a`, 'Registered')
  for (const name of ['netsvc', 'netsvcs', 'networkservices'])
    t.match(
      await world.kubectl(['get', name, '-n', 'nsm-system']),
      /NAME +PAYLOAD +ENDPOINTS +READY +AGE\ndb +IP +1 +True/,
    )
  for (const name of ['nse', 'nses', 'nsm'])
    t.match(
      await world.kubectl(['get', name, '-n', 'nsm-system']),
      /a +\["db"\] +tcp:\/\/10.0.0.1:5001 +True/,
    )
  const explained = await world.kubectl(['explain', 'nse.spec.network_service_labels.labels'])
  t.match(explained, /KIND: +NetworkServiceEndpoint/)
  t.match(
    await world.kubectl(['explain', 'netsvc.spec.matches']),
    /source_selector[^]*Labels that the client must have/,
  )
  t.match(
    await world.kubectl(['explain', 'netsvc.status.conditions']),
    /Registered,\s+InvalidSpec, NameTaken/,
  )
})
