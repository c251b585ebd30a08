import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { parseAwarenessGroups } from '@nsm/api/nsurl.js'
import { chain, connectionOf, type Element, type NetworkService } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { excludedPrefixesClient } from '@nsm/sdk/elements/excluded-prefixes-client.js'
import { ipamPointToPoint } from '@nsm/sdk/elements/ipam-point-to-point.js'
import { parsePrefixGroups } from '@nsm/sdk/net/prefix-groups.js'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.js'

const ctx = background()
const ask = (id: string, networkService: string): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({
    connection: { id, networkService, labels: { podName: 'p' } },
    mechanismPreferences: [{ cls: 'LOCAL', type: 'KERNEL', parameters: { name: `nsm-${id}` } }],
  })
const again = (connection: Connection): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({ connection })
const src = (conn: Connection): string[] => conn.context?.ipContext?.srcIpAddrs ?? []

/** One endpoint per service, each with the same pool, answering when told to. */
function endpoints(pool: string, order: Promise<void> = Promise.resolve()): Element {
  const services = new Map<string, NetworkService>()
  const serviceOf = (conn: Connection): NetworkService => {
    const known =
      services.get(conn.networkService) ??
      chain([ipamPointToPoint({ groups: parsePrefixGroups(pool), policy: 'polite' })])
    services.set(conn.networkService, known)
    return known
  }
  return {
    name: 'endpoints',
    async request(ctx, req) {
      await order
      return serviceOf(connectionOf(req)).request(ctx, req)
    },
    close: (ctx, conn) => serviceOf(conn).close(ctx, conn),
  }
}

t.test('a second connection gets other addresses than the first', async (t) => {
  const seen = recording()
  const client = chain([excludedPrefixesClient(), seen.element, endpoints('172.16.1.96/29')])
  const first = await client.request(ctx, ask('1', 'one'))
  const second = await client.request(ctx, ask('2', 'two'))
  t.same([src(first), src(second)], [['172.16.1.97/32'], ['172.16.1.99/32']])
  t.equal(seen.requests.length, 2)

  const refreshed = await client.request(ctx, again(first))
  t.same(src(refreshed), ['172.16.1.97/32'])
  t.same(refreshed.context?.ipContext?.excludedPrefixes, ['172.16.1.99/32', '172.16.1.98/32'])

  await client.close(ctx, second)
  const alone = await client.request(ctx, again(refreshed))
  t.same(alone.context?.ipContext?.excludedPrefixes, [], 'what it added itself goes again')
})

t.test('of two requests at once the later answer is asked for again', async (t) => {
  let go = (): void => undefined
  const together = new Promise<void>((resolve) => (go = resolve))
  const client = chain([excludedPrefixesClient(), endpoints('172.16.1.96/29', together)])
  const both = Promise.all([client.request(ctx, ask('1', 'one')), client.request(ctx, ask('2', 'two'))])
  go()
  t.same((await both).map(src), [['172.16.1.97/32'], ['172.16.1.99/32']])
})

t.test('connections of one awareness group may overlap', async (t) => {
  const groups = parseAwarenessGroups('[kernel://one/nsm-1,kernel://two?podName=p],[kernel://three]')
  const client = chain([excludedPrefixesClient(groups), endpoints('172.16.1.100/31,10.0.0.0/29')])
  t.same(src(await client.request(ctx, ask('1', 'one'))), ['172.16.1.101/32', '10.0.0.1/32'])
  t.same(src(await client.request(ctx, ask('2', 'two'))), ['172.16.1.101/32', '10.0.0.1/32'])
  await t.rejects(client.request(ctx, ask('3', 'three')), { code: 'RESOURCE_EXHAUSTED' })
})

t.test('an endpoint that insists on an excluded address is closed and told', async (t) => {
  const stubborn: Element = {
    name: 'stubborn',
    request: async (_ctx, req) => {
      const conn = connectionOf(req)
      const ipContext = {
        ...conn.context?.ipContext,
        srcIpAddrs: ['10.0.0.1/32'],
        dstIpAddrs: ['10.0.0.0/32'],
      }
      return NetworkServiceRequest.fromPartial({ connection: { ...conn, context: { ipContext } } })
        .connection as Connection
    },
  }
  const seen = recording()
  const client = chain([excludedPrefixesClient(), seen.element, stubborn])
  const first = await client.request(ctx, ask('1', 'one'))
  await t.rejects(client.request(ctx, ask('2', 'two')), {
    code: 'FAILED_PRECONDITION',
    message: /10\.0\.0\.1\/32/,
  })
  t.same(
    seen.requests.map(({ id }) => id),
    ['1', '2', '2'],
    'it had a second try',
  )
  t.same(
    seen.closes.map(({ id }) => id),
    ['2'],
  )
  await client.close(ctx, first)
  t.ok(await client.request(ctx, ask('2', 'two')))
})

t.test('an address inside what a manager excluded is refused as well', async (t) => {
  const client = chain([
    excludedPrefixesClient(),
    {
      name: 'manager and endpoint',
      request: async (_ctx, req) =>
        NetworkServiceRequest.fromPartial({
          connection: {
            ...connectionOf(req),
            context: { ipContext: { srcIpAddrs: ['10.96.0.1/32'], excludedPrefixes: ['10.96.0.0/12'] } },
          },
        }).connection as Connection,
    },
  ])
  await t.rejects(client.request(ctx, ask('1', 'one')), { code: 'FAILED_PRECONDITION' })
})

t.test('a refused refresh keeps its addresses excluded for the others', async (t) => {
  const { state, element } = refusing()
  const client = chain([excludedPrefixesClient(), element, endpoints('172.16.1.96/29')])
  state.on = false
  const first = await client.request(ctx, ask('1', 'one'))
  state.on = true
  await t.rejects(client.request(ctx, again(first)), { code: 'UNAVAILABLE' })
  state.on = false
  t.same(src(await client.request(ctx, ask('2', 'two'))), ['172.16.1.99/32'])
})

t.test('a default route of one connection leaves room for others', async (t) => {
  const routed: Element = {
    name: 'routed',
    request: async (ctx, req, next) => {
      const conn = await next.request(ctx, req)
      const ipContext = conn.context?.ipContext
      const srcRoutes = [...(ipContext?.srcRoutes ?? []), { prefix: '0.0.0.0/0', nextHop: '' }]
      return NetworkServiceRequest.fromPartial({
        connection: { ...conn, context: { ipContext: { ...ipContext, srcRoutes } } },
      }).connection as Connection
    },
  }
  const client = chain([excludedPrefixesClient(), routed, endpoints('172.16.1.96/29')])
  await client.request(ctx, ask('1', 'one'))
  t.same(src(await client.request(ctx, ask('2', 'two'))), ['172.16.1.99/32'])
})
