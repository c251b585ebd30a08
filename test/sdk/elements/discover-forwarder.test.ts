import { State, type Connection, type DeepPartial } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { Match } from '@nsm/api/gen/registry.js'
import { chain, connectionOf, type Element, type NetworkService } from '@nsm/sdk/chain.js'
import { background, valueOf } from '@nsm/sdk/ctx.js'
import { clientUrl, closeUrl } from '@nsm/sdk/elements/client-url.js'
import { discoverForwarder } from '@nsm/sdk/elements/discover-forwarder.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { metadata } from '@nsm/sdk/elements/metadata.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { endpoint } from '../../kit/registry-conformance.ts'
import { newStores, service } from '../../kit/registry-mesh.ts'

const ctx = background()
const nsmgrUrl = 'tcp://192.0.2.1:5001'

function ask(id: string, more: DeepPartial<Connection> = {}): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({ connection: { id, networkService: 'db', ...more } })
}

interface World {
  stores: Registries
  /** Names of forwarders that were asked; with `close` before it for a Close. */
  asked: string[]
  down: Set<string>
  service: NetworkService
  restarted: () => NetworkService
}

/** Forwarders `f0` and `f1` (p2p) and `special` of this node, one of another; and network service `db` with these matches. */
async function world(...matches: DeepPartial<Match>[]): Promise<World> {
  const stores = newStores()
  await stores.networkServices.register(
    ctx,
    service('db', { matches: matches.map((m) => Match.fromPartial(m)) }),
  )
  const forwarder = async (name: string, labels: Record<string, string>, url = nsmgrUrl): Promise<unknown> =>
    stores.networkServiceEndpoints.register(
      ctx,
      endpoint(name, {
        url,
        networkServiceNames: ['forwarder'],
        networkServiceLabels: { forwarder: { labels } },
      }),
    )
  await forwarder('f0', { p2p: 'true' })
  await forwarder('f1', { p2p: 'true' })
  await forwarder('special', { kind: 'sriov' })
  await forwarder('elsewhere', { p2p: 'true' }, 'tcp://192.0.2.9:5001')
  const [asked, down]: [string[], Set<string>] = [[], new Set()]
  let current = ''
  const local: Registries = {
    ...stores,
    networkServiceEndpoints: {
      ...stores.networkServiceEndpoints,
      // As localbypass does: endpoints of this node by their real urls.
      async *find(c, query) {
        for await (const response of stores.networkServiceEndpoints.find(c, query)) {
          const found = response.networkServiceEndpoint
          if (found !== undefined)
            yield { ...response, networkServiceEndpoint: { ...found, url: `unix:///${found.name}` } }
        }
      },
    },
  }
  const end: Element = {
    name: 'end',
    async request(c, req) {
      current = String(valueOf(c, clientUrl)).slice('unix:///'.length)
      asked.push(current)
      if (down.has(current)) throw new NsmError('UNAVAILABLE', 'it is down')
      return connectionOf(req)
    },
    async close(c) {
      asked.push(`close ${await valueOf(c, closeUrl)?.()}`)
    },
  }
  const restarted = (): NetworkService =>
    chain([metadata('server'), discoverForwarder({ registries: local, nsmgrUrl }), end])
  return { stores, asked, down, service: restarted(), restarted }
}

t.test(
  'without matches every forwarder of this node may serve; the one that accepts is remembered',
  async (t) => {
    const { asked, down, service } = await world()
    down.add('f0')
    await service.request(ctx, ask('c'))
    down.clear()
    await service.request(ctx, ask('c'))
    await service.request(ctx, ask('other'))
    t.same(asked, ['f0', 'f1', 'f1', 'f0'])
    await service.close(ctx, connectionOf(ask('c')))
    t.equal(asked.at(-1), 'close unix:///f1')
  },
)

t.test('all refuse: the reasons are told', async (t) => {
  const { asked, down, service } = await world()
  for (const name of ['f0', 'f1', 'special']) down.add(name)
  await t.rejects(service.request(ctx, ask('c')), {
    code: 'UNAVAILABLE',
    message: 'no forwarder accepted the request: f0: it is down; f1: it is down; special: it is down',
  })
  t.equal(asked.length, 3)
})

t.test('the first match that applies says which labels a forwarder needs, p2p unless told', async (t) => {
  const matched = async (labels: Record<string, string>, ...matches: DeepPartial<Match>[]) => {
    const { asked, down, service } = await world(...matches)
    for (const name of ['f0', 'f1', 'special', 'elsewhere']) down.add(name)
    await service.request(ctx, ask('c', { labels })).catch(() => undefined)
    return asked
  }
  const sriov = { metadata: { labels: { kind: '{{.want}}' } } }
  t.same(await matched({}, {}), ['f0', 'f1'])
  t.same(await matched({}, { metadata: { labels: {} } }), ['f0', 'f1'])
  t.same(await matched({ want: 'sriov' }, sriov), ['special'])
  t.same(await matched({ app: 'x' }, { sourceSelector: { app: 'y' }, ...sriov }, {}), ['f0', 'f1'])
  t.same(await matched({}, { metadata: { labels: { kind: 'none' } } }, {}), [])
  t.same(await matched({}, { metadata: { labels: { kind: 'none' } }, fallthrough: true }, {}), ['f0', 'f1'])
  t.same(await matched({}, { sourceSelector: { app: 'y' } }), [])
})

t.test('a remembered forwarder that is gone is not replaced until the client reselects', async (t) => {
  const { stores, asked, service } = await world()
  await service.request(ctx, ask('c'))
  await stores.networkServiceEndpoints.unregister(ctx, endpoint('f0'))
  await t.rejects(service.request(ctx, ask('c')), {
    code: 'UNAVAILABLE',
    message: 'forwarder f0 is not available',
  })
  await service.request(ctx, ask('c', { state: State.RESELECT_REQUESTED }))
  await service.request(ctx, ask('c'))
  t.same(asked, ['f0', 'f1', 'f1'])
})

t.test('after a restart the forwarder on the path is tried first, except on reselect', async (t) => {
  const { asked, restarted } = await world()
  const path = { index: 1, pathSegments: [{ name: 'nsc' }, { name: 'nsmgr' }, { name: 'f1' }] }
  await restarted().request(ctx, ask('c', { path }))
  await restarted().request(ctx, ask('c', { path, state: State.RESELECT_REQUESTED }))
  await restarted().close(ctx, connectionOf(ask('c', { path })))
  t.same(asked, ['f1', 'f0', 'close unix:///f1'])
})

t.test('an expired forwarder, an unknown service, a close without forwarder', async (t) => {
  const { stores, asked, service: chained } = await world()
  await t.rejects(chained.request(ctx, ask('c', { networkService: 'none' })), { code: 'NOT_FOUND' })
  const expirationTime = new Date(1)
  const networkServiceNames = ['forwarder']
  for (const name of ['f0', 'f1', 'special'])
    await stores.networkServiceEndpoints.register(
      ctx,
      endpoint(name, { url: nsmgrUrl, networkServiceNames, expirationTime }),
    )
  await t.rejects(chained.request(ctx, ask('c')), { code: 'UNAVAILABLE', message: /none of 0 on this node/ })
  await chained.close(ctx, connectionOf(ask('c')))
  t.same(asked, ['close undefined'])
})
