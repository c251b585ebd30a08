import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import {
  changedObject,
  isObjectName,
  networkServiceEndpointResource as endpoints,
  networkServiceResource as services,
} from '@nsm/registry/kubernetes/resource.js'
import fc from 'fast-check'
import t from 'tap'

const word = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme-ascii' })
const labels = fc.dictionary(word, fc.string({ maxLength: 20, unit: 'grapheme-ascii' }), { maxKeys: 4 })
const time = fc.option(
  fc.integer({ min: -1e12, max: 4e12 }).map((ms) => new Date(ms)),
  { nil: undefined },
)

const object = (spec: unknown, name = 'object'): KubernetesObject => ({ metadata: { name }, spec })

t.test('what is written is read again as it was, through JSON', async (t) => {
  const endpoint = fc
    .record({
      name: word,
      networkServiceNames: fc.array(word, { maxLength: 4 }),
      networkServiceLabels: fc.dictionary(word, fc.record({ labels }), { maxKeys: 3 }),
      url: fc.string({ maxLength: 20, unit: 'grapheme-ascii' }),
      expirationTime: time,
      initialRegistrationTime: time,
      pathIds: fc.array(word, { maxLength: 3 }),
    })
    .map((item) => NetworkServiceEndpoint.fromPartial(item))
  const route = fc.record({ destinationSelector: labels, weight: fc.nat(4_294_967_295) })
  const match = fc.record({
    sourceSelector: labels,
    routes: fc.array(route, { maxLength: 3 }),
    fallthrough: fc.boolean(),
    metadata: fc.option(fc.record({ labels }), { nil: undefined }),
  })
  const service = fc
    .record({
      name: word,
      payload: word,
      matches: fc.array(match, { maxLength: 3 }),
      pathIds: fc.array(word, { maxLength: 3 }),
    })
    .map((item) => NetworkService.fromPartial(item))
  fc.assert(
    fc.property(endpoint, (item) => {
      const spec: unknown = JSON.parse(JSON.stringify(endpoints.encode(item)))
      t.same(endpoints.decode(object(spec)), item)
    }),
  )
  fc.assert(
    fc.property(service, (item) => {
      const spec: unknown = JSON.parse(JSON.stringify(services.encode(item)))
      t.same(services.decode(object(spec)), item)
    }),
  )
})

t.test('empty fields are left out, times are seconds and nanos', async (t) => {
  const item = NetworkServiceEndpoint.fromPartial({ name: 'a', expirationTime: new Date(-1) })
  t.same(endpoints.encode(item), { name: 'a', expiration_time: { seconds: -1, nanos: 999_000_000 } })
  const bare = { sourceSelector: {}, routes: [], fallthrough: false, metadata: { labels: {} } }
  t.same(services.encode(NetworkService.fromPartial({ name: 's', matches: [bare] })), {
    name: 's',
    matches: [{ metadata: {} }],
  })
})

t.test('absent and null are empty; the object’s name and payload IP are what is not said', async (t) => {
  for (const spec of [undefined, null, {}, { name: null, payload: '', matches: null }])
    t.same(services.decode(object(spec)), NetworkService.fromPartial({ name: 'object', payload: 'IP' }))
  const spec = { network_service_names: null, network_service_labels: { db: null }, expiration_time: {} }
  t.match(endpoints.decode(object(spec)), {
    name: 'object',
    networkServiceLabels: { db: { labels: {} } },
    expirationTime: new Date(0),
  })
})

t.test('what is wrong is told by its field', async (t) => {
  const cases: [unknown, string][] = [
    [5, 'spec must be an object, not 5'],
    [[], 'spec must be an object, not []'],
    [{ name: {} }, 'spec.name must be a text, not {}'],
    [{ network_service_names: 'db' }, 'spec.network_service_names must be a list, not "db"'],
    [{ network_service_names: ['db', 1] }, 'spec.network_service_names[1] must be a text, not 1'],
    [
      { network_service_labels: { db: { labels: { p2p: true } } } },
      'spec.network_service_labels.db.labels.p2p must be a text, not true',
    ],
    [
      { expiration_time: '2050-01-01T00:00:00Z' },
      'spec.expiration_time must be an object, not "2050-01-01T00:00:00Z"',
    ],
    [
      { expiration_time: { seconds: 1e17 } },
      'spec.expiration_time.seconds must be a whole number from -8640000000000 to 8640000000000, not 100000000000000000',
    ],
    [
      { expiration_time: { nanos: -1 } },
      'spec.expiration_time.nanos must be a whole number from 0 to 999999999, not -1',
    ],
    [{ url: 'x'.repeat(3000) }, 'url has a text of 3000 characters, at most 2048 are allowed'],
  ]
  for (const [spec, message] of cases)
    t.throws(() => endpoints.decode(object(spec)), { code: 'INVALID_ARGUMENT', message })
  t.throws(() => services.decode(object({ matches: [{ routes: [{ weight: -1 }] }] })), {
    message: 'spec.matches[0].routes[0].weight must be a whole number from 0 to 4294967295, not -1',
  })
  t.throws(() => services.decode(object({ matches: [{ fallthrough: 'yes' }] })), {
    message: 'spec.matches[0].fallthrough must be true or false, not "yes"',
  })
})

t.test('a change touches what has changed, and nothing that the registry does not know', async (t) => {
  const matches = [{ routes: [{ destination_selector: { app: 'a' }, later: 1 }], later: 2 }]
  const before = {
    metadata: { name: 'db', labels: { mine: 'x' } },
    spec: { matches, later: 3, path_ids: ['a', 'b'] },
    status: { kept: true },
  }
  const item = services.decode(before)
  const after = changedObject(services, before, [item, { ...item, payload: 'ETHERNET', pathIds: [] }])
  t.match(after, { kind: 'NetworkService', metadata: before.metadata, status: before.status })
  t.same(after['spec'], { matches, later: 3, payload: 'ETHERNET' })
  t.same(before.spec.path_ids, ['a', 'b'], 'the object itself stays')
  const unread = changedObject(services, { ...before, spec: { matches: 5, later: 3 } }, [
    undefined,
    { ...item, matches: [] },
  ])
  t.same(unread['spec'], { name: 'db', payload: 'IP', path_ids: ['a', 'b'], later: 3 })
})

t.test('names of objects, as the API server takes them', async (t) => {
  for (const name of ['a', '0', 'a-b', 'a.b', 'a--b', 'x'.repeat(253)]) t.ok(isObjectName(name), name)
  for (const name of [
    '',
    'A',
    '-a',
    'a-',
    'a.',
    '.a',
    'a..b',
    'a.-b',
    'a_b',
    'a@b',
    'ä',
    'a\n',
    'x'.repeat(254),
  ])
    t.notOk(isObjectName(name), name)
})
