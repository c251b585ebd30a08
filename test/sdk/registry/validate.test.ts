import { NetworkService, type DeepPartial, type NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { background } from '@nsm/sdk/ctx.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { validateNetworkService, validateNetworkServiceEndpoint } from '@nsm/sdk/registry/validate.js'
import t from 'tap'
import { endpoint } from '../../kit/registry-conformance.ts'

const ctx = background()
const many = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, 'v']))

t.test('endpoints within bounds pass, others are refused by field, also when they unregister', async (t) => {
  const registry = registryChain([validateNetworkServiceEndpoint()])
  const names = Array.from({ length: 64 }, (_, n) => `s${n}`)
  const networkServiceLabels = { db: { labels: { ...many(63), ['k'.repeat(317)]: 'v'.repeat(1024) } } }
  const largest = endpoint('n'.repeat(253), {
    networkServiceNames: names,
    networkServiceLabels,
    url: `tcp://${'x'.repeat(2042)}`,
    pathIds: Array.from({ length: 32 }, () => 'x'.repeat(2048)),
  })
  t.equal(await registry.register(ctx, largest), largest)
  const bad: [Partial<NetworkServiceEndpoint>, RegExp][] = [
    [{ name: '' }, /^name is empty/],
    [{ name: 'é\u0000' }, /^name has a control character/],
    [{ networkServiceNames: [''] }, /^network_service_names is empty/],
    [{ networkServiceNames: [...names, 'more'] }, /^network_service_names has 65 entries/],
    [{ networkServiceLabels: { db: { labels: many(65) } } }, /^network_service_labels has 65 entries/],
    [{ networkServiceLabels: { ['x'.repeat(254)]: { labels: {} } } }, /^network_service_labels has a text/],
    [{ pathIds: Array.from({ length: 33 }, () => 'x') }, /^path_ids has 33/],
    [{ pathIds: ['x'.repeat(2049)] }, /^path_ids has a text/],
  ]
  for (const [more, message] of bad) {
    await t.rejects(registry.register(ctx, endpoint('a', more)), { code: 'INVALID_ARGUMENT', message })
    await t.rejects(registry.unregister(ctx, endpoint('a', more)), { code: 'INVALID_ARGUMENT', message })
  }
})

t.test('network services, likewise', async (t) => {
  const registry = registryChain([validateNetworkService()])
  const bad: [DeepPartial<NetworkService>, RegExp][] = [
    [{ name: '' }, /^name/],
    [{ payload: 'x'.repeat(254) }, /^payload/],
    [{ matches: Array.from({ length: 65 }, () => ({})) }, /^matches has 65/],
    [{ matches: [{ routes: Array.from({ length: 65 }, () => ({})) }] }, /^routes has 65/],
    [{ matches: [{ sourceSelector: many(65) }] }, /^source_selector has 65/],
    [{ matches: [{ routes: [{ destinationSelector: { a: 'x'.repeat(1025) } }] }] }, /^destination_selector/],
    [{ matches: [{ metadata: { labels: { ['x'.repeat(318)]: '' } } }] }, /^metadata/],
  ]
  for (const [more, message] of bad) {
    const item = NetworkService.fromPartial({ name: 'db', ...more })
    await t.rejects(registry.register(ctx, item), { code: 'INVALID_ARGUMENT', message })
    await t.rejects(registry.unregister(ctx, item), { code: 'INVALID_ARGUMENT', message })
  }
})
