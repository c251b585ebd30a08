import type { Connection } from '@nsm/api/gen/connection.js'
import type { IPContext } from '@nsm/api/gen/connectioncontext.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element, type NetworkService } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { ipamPointToPoint } from '@nsm/sdk/elements/ipam-point-to-point.js'
import { parsePrefixGroups } from '@nsm/sdk/net/prefix-groups.js'
import * as fc from 'fast-check'
import t from 'tap'
import { refusing } from '../../kit/elements.js'

const ctx = background()
const service = (
  pools: string,
  policy: 'polite' | 'strict' = 'polite',
  rest: Element[] = [],
): NetworkService => chain([ipamPointToPoint({ groups: parsePrefixGroups(pools), policy }), ...rest])
const ask = (id: string, ipContext: Partial<IPContext> = {}): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({ connection: { id, context: { ipContext } } })
const again = (connection: Connection): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({ connection })
const ip = (conn: Connection): IPContext => {
  if (conn.context?.ipContext === undefined) throw new Error('no ip context')
  return conn.context.ipContext
}
const shown = (conn: Connection): unknown => ({
  src: ip(conn).srcIpAddrs,
  dst: ip(conn).dstIpAddrs,
  srcRoutes: ip(conn).srcRoutes.map(({ prefix, nextHop }) => `${prefix} ${nextHop}`.trim()),
  dstRoutes: ip(conn).dstRoutes.map(({ prefix, nextHop }) => `${prefix} ${nextHop}`.trim()),
})
const link = (dst: string, src: string): unknown => ({
  src: [src],
  dst: [dst],
  srcRoutes: [dst],
  dstRoutes: [src],
})

t.test(
  'the endpoint gets the first address, the client the second, each a host route to the other',
  async (t) => {
    const nse = service('172.16.1.100/31')
    t.same(shown(await nse.request(ctx, ask('a'))), link('172.16.1.100/32', '172.16.1.101/32'))
    await t.rejects(nse.request(ctx, ask('b')), {
      code: 'RESOURCE_EXHAUSTED',
      message: /172\.16\.1\.100\/31/,
    })
  },
)

t.test('one pair per group: dual stack, and a group with a second pool to go on with', async (t) => {
  t.same(shown(await service('172.16.1.100/31,2001:db8::/116').request(ctx, ask('a'))), {
    src: ['172.16.1.101/32', '2001:db8::1/128'],
    dst: ['172.16.1.100/32', '2001:db8::/128'],
    srcRoutes: ['172.16.1.100/32', '2001:db8::/128'],
    dstRoutes: ['172.16.1.101/32', '2001:db8::1/128'],
  })
  const nse = service('[10.0.0.0/31,10.0.1.0/31]')
  t.same(ip(await nse.request(ctx, ask('a'))).srcIpAddrs, ['10.0.0.1/32'])
  t.same(ip(await nse.request(ctx, ask('b'))).srcIpAddrs, ['10.0.1.1/32'])
})

t.test('a pool of one address has no pair, and is left whole', async (t) => {
  const nse = service('[10.0.0.1/32,10.0.1.0/31]')
  t.same(shown(await nse.request(ctx, ask('a'))), link('10.0.1.0/32', '10.0.1.1/32'))
  await t.rejects(service('10.0.0.1/32').request(ctx, ask('a')), { code: 'RESOURCE_EXHAUSTED' })
  await t.rejects(service('::1/128').request(ctx, ask('a')), { code: 'RESOURCE_EXHAUSTED' })
})

t.test('excluded prefixes are not handed out', async (t) => {
  const nse = service('172.16.1.200/30')
  const excludedPrefixes = ['172.16.1.201/32', '172.16.1.202/32']
  t.match(
    shown(await nse.request(ctx, ask('a', { excludedPrefixes }))),
    link('172.16.1.200/32', '172.16.1.203/32'),
  )
  const second = service('172.16.1.96/29')
  const other = { excludedPrefixes: ['172.16.1.96/32', '172.16.1.97/32'] }
  t.match(shown(await second.request(ctx, ask('a', other))), link('172.16.1.98/32', '172.16.1.99/32'))
  await t.rejects(
    service('10.0.0.0/24').request(ctx, ask('a', { excludedPrefixes: ['::ffff:10.0.0.7/100'] })),
    {
      code: 'RESOURCE_EXHAUSTED',
    },
  )
})

t.test('a refresh keeps its addresses; an address that is excluded meanwhile is changed', async (t) => {
  const nse = service('10.0.0.0/29')
  const first = await nse.request(ctx, ask('a'))
  await nse.request(ctx, ask('b'))
  t.same(shown(await nse.request(ctx, again(first))), link('10.0.0.0/32', '10.0.0.1/32'))
  t.same(
    shown(await nse.request(ctx, ask('a'))),
    link('10.0.0.0/32', '10.0.0.1/32'),
    'even if it forgot them',
  )

  const excluded = ask('a', { ...ip(first), excludedPrefixes: ['10.0.0.1/32'] })
  t.match(shown(await nse.request(ctx, excluded)), link('10.0.0.4/32', '10.0.0.5/32'))
  t.match(
    shown(await nse.request(ctx, ask('c'))),
    link('10.0.0.0/32', '10.0.0.1/32'),
    'the old ones are free',
  )
})

t.test('what a restarted endpoint gave before is taken over, by one connection only', async (t) => {
  for (const policy of ['polite', 'strict'] as const) {
    const before = service('10.0.0.0/29', policy)
    await before.request(ctx, ask('a'))
    const conn = await before.request(ctx, ask('b'))
    const after = service('10.0.0.0/29', policy)
    t.same(shown(await after.request(ctx, again(conn))), link('10.0.0.2/32', '10.0.0.3/32'))
    t.same(shown(await after.request(ctx, ask('thief', ip(conn)))), link('10.0.0.0/32', '10.0.0.1/32'))
  }
})

t.test('half of what is wished is better than nothing', async (t) => {
  const nse = service('10.0.0.0/29')
  t.match(
    shown(await nse.request(ctx, ask('a', { srcIpAddrs: ['10.0.0.6/32'] }))),
    link('10.0.0.0/32', '10.0.0.6/32'),
  )
  t.match(
    shown(await nse.request(ctx, ask('b', { srcIpAddrs: ['10.0.0.6/32'], dstIpAddrs: ['10.0.0.5/32'] }))),
    link('10.0.0.5/32', '10.0.0.1/32'),
  )
})

const elsewhere = {
  srcIpAddrs: ['172.16.1.1/32'],
  dstIpAddrs: ['172.16.1.0/32'],
  srcRoutes: [{ prefix: '172.16.1.0/32', nextHop: '' }],
  dstRoutes: [{ prefix: '172.16.1.1/32', nextHop: '' }],
  policies: [{ from: '1.2.3.4/32', proto: '6', dstPort: '', srcPort: '', routes: [] }],
  excludedPrefixes: ['172.16.2.0/31'],
}

t.test(
  'strict: an address from elsewhere resets the context, but what is excluded stays excluded',
  async (t) => {
    const conn = await service('172.16.2.0/29', 'strict').request(ctx, ask('a', elsewhere))
    t.same(shown(conn), link('172.16.2.2/32', '172.16.2.3/32'))
    t.same(ip(conn).policies, [])
  },
)

t.test('polite: addresses from elsewhere stay behind ours, unless another connection has them', async (t) => {
  const nse = service('172.16.2.0/29')
  t.same(shown(await nse.request(ctx, ask('a', elsewhere))), {
    src: ['172.16.2.3/32', '172.16.1.1/32'],
    dst: ['172.16.2.2/32', '172.16.1.0/32'],
    srcRoutes: ['172.16.2.2/32', '172.16.1.0/32'],
    dstRoutes: ['172.16.2.3/32', '172.16.1.1/32'],
  })
  const second = await nse.request(ctx, ask('b', elsewhere))
  t.same(shown(second), link('172.16.2.4/32', '172.16.2.5/32'))
  await nse.close(ctx, again(await nse.request(ctx, ask('a'))).connection as Connection)
  t.same(ip(await nse.request(ctx, ask('c', elsewhere))).srcIpAddrs, ['172.16.2.3/32', '172.16.1.1/32'])
})

t.test('a client has no say in the routes of the endpoint, and keeps its own', async (t) => {
  const conn = await service('10.0.0.0/29').request(
    ctx,
    ask('a', {
      srcRoutes: [
        { prefix: '172.16.0.0/16', nextHop: '10.0.0.0' },
        { prefix: 'nonsense', nextHop: '' },
      ],
      dstRoutes: [
        { prefix: '0.0.0.0/0', nextHop: '' },
        { prefix: '10.96.0.1/32', nextHop: '' },
      ],
    }),
  )
  t.same(shown(conn), {
    src: ['10.0.0.1/32'],
    dst: ['10.0.0.0/32'],
    srcRoutes: ['10.0.0.0/32', '172.16.0.0/16 10.0.0.0'],
    dstRoutes: ['10.0.0.1/32'],
  })
})

t.test('a refused new connection leaves nothing held; a refused refresh keeps everything', async (t) => {
  const { state, element } = refusing()
  const nse = service('10.0.0.0/31', 'polite', [element])
  await t.rejects(nse.request(ctx, ask('a')), { code: 'UNAVAILABLE' })
  state.on = false
  const conn = await nse.request(ctx, ask('b'))
  state.on = true
  await t.rejects(nse.request(ctx, again(conn)), { code: 'UNAVAILABLE' })
  state.on = false
  await t.rejects(nse.request(ctx, ask('c')), { code: 'RESOURCE_EXHAUSTED' })
  state.on = true
  await t.rejects(nse.close(ctx, conn), { code: 'UNAVAILABLE' })
  state.on = false
  t.same(
    shown(await nse.request(ctx, ask('c'))),
    link('10.0.0.0/32', '10.0.0.1/32'),
    'freed though the close failed',
  )
})

t.test('a request beyond measure or with a malformed exclusion is refused and holds nothing', async (t) => {
  const nse = service('10.0.0.0/31')
  const routes = Array.from({ length: 100_000 }, () => ({ prefix: '0.0.0.0/0', nextHop: '' }))
  await t.rejects(nse.request(ctx, ask('a', { srcRoutes: routes })), {
    code: 'INVALID_ARGUMENT',
    message: /100000 entries in srcRoutes/,
  })
  for (const text of ['10.0.0.1', '10.0.0.0/33', '']) {
    await t.rejects(nse.request(ctx, ask('a', { excludedPrefixes: [text] })), { code: 'INVALID_ARGUMENT' })
  }
  await t.rejects(nse.request(ctx, NetworkServiceRequest.fromPartial({})), { code: 'INVALID_ARGUMENT' })
  t.same(shown(await nse.request(ctx, ask('a'))), link('10.0.0.0/32', '10.0.0.1/32'))
})

t.test('whatever happens, no address has two holders and none is lost', async () => {
  const step = fc.record({
    what: fc.constantFrom('request', 'refresh', 'refused', 'close'),
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    wish: fc.array(
      fc.nat(9).map((host) => `10.0.0.${host}/32`),
      { maxLength: 2 },
    ),
    excludedPrefixes: fc.array(
      fc.nat(9).map((host) => `10.0.0.${host}/32`),
      { maxLength: 2 },
    ),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { state, element } = refusing()
      const nse = service('10.0.0.0/29', 'polite', [element])
      const live = new Map<string, Connection>()
      for (const { what, id, wish, excludedPrefixes } of steps) {
        const known = live.get(id)
        state.on = what === 'refused'
        if (what === 'close') {
          if (known !== undefined) await nse.close(ctx, known)
          live.delete(id)
        } else {
          const req =
            what === 'refresh' && known !== undefined
              ? again(known)
              : ask(id, { srcIpAddrs: wish, dstIpAddrs: wish, excludedPrefixes })
          const conn = await nse.request(ctx, req).catch(() => undefined)
          if (conn !== undefined) live.set(id, conn)
        }
        const all = [...live.values()].flatMap((conn) => ip(conn).srcIpAddrs.concat(ip(conn).dstIpAddrs))
        if (new Set(all).size !== all.length) return false
      }
      state.on = false
      for (const conn of live.values()) await nse.close(ctx, conn)
      for (const id of ['e', 'f', 'g', 'h']) await nse.request(ctx, ask(id))
      return true
    }),
  )
})
