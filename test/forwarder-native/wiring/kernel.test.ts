import { readdirSync } from 'node:fs'
import { Connection, type Mechanism } from '@nsm/api/gen/connection.js'
import type { DeepPartial, IPContext } from '@nsm/api/gen/connectioncontext.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { kernelWiring } from '@nsm/forwarder-native/wiring/kernel.js'
import { native } from '@nsm/native/native.js'
import type { NamespaceState } from '@nsm/native/surface.js'
import { chain, connectionOf, type Element } from '@nsm/sdk/chain.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { holdingDescriptors } from '@nsm/sdk/elements/call-descriptors.js'
import type { DescriptorChannel } from '@nsm/sdk/peer.js'
import t from 'tap'
import { inNetns, ip, netnses, occupant, pingFrom } from '../../kit/netns.ts'
import { until } from '../../kit/until.ts'

const p2p: DeepPartial<IPContext> = {
  srcIpAddrs: ['172.16.1.100/32', 'fd00::100/128'],
  dstIpAddrs: ['172.16.1.101/32', 'fd00::101/128'],
  srcRoutes: [{ prefix: '172.16.1.101/32' }],
  dstRoutes: [{ prefix: '172.16.1.100/32' }],
}

interface Pods {
  readonly client: number
  readonly endpoint: number
}

interface Asked {
  readonly id?: string
  readonly clientId?: string
  readonly name?: string
  readonly endpointName?: string
  readonly ipContext?: DeepPartial<IPContext>
  readonly clientUrl?: string
  readonly signal?: AbortSignal
}

/** One life of a forwarder, with an endpoint that answers what the test wants. */
function forwarder(name = 'fwd') {
  const wiring = kernelWiring({ native, forwarderName: name })
  const state = {
    closed: 0,
    answer: {} as Partial<Connection>,
    mechanism: undefined as Mechanism | undefined,
  }
  const endpoint: Element = {
    name: 'endpoint',
    request: async (_ctx, req) => ({ ...connectionOf(req), ...state.answer, mechanism: state.mechanism }),
    close: async () => void state.closed++,
  }
  const keepMechanism: Element = {
    name: 'mechanism translation',
    request: async (ctx, req, next) => ({
      ...(await next.request(ctx, req)),
      mechanism: connectionOf(req).mechanism,
    }),
  }
  const service = chain([wiring.server, keepMechanism, wiring.client, endpoint])
  const kernel = (url: string, ifname: string): Mechanism => ({
    cls: 'LOCAL',
    type: 'KERNEL',
    parameters: { inodeURL: url, name: ifname },
  })

  async function during<T>(
    pods: Pods,
    signal: AbortSignal | undefined,
    body: (ctx: Ctx, urls: string[]) => Promise<T>,
  ) {
    return holdingDescriptors(
      background(signal === undefined ? {} : { signal }),
      native,
      async (ctx, held) => {
        const urls = [pods.client, pods.endpoint].map(
          (fd) => held.hold(native.duplicate(fd), native.describe(fd), {} as DescriptorChannel).fileUrl,
        )
        return body(ctx, urls)
      },
    )
  }

  return {
    wiring,
    state,
    request: (pods: Pods, asked: Asked = {}): Promise<Connection> =>
      during(pods, asked.signal, (ctx, [clientUrl = '', endpointUrl = '']) => {
        const { id = 'fwd-0', clientId = `client of ${id}`, ipContext = p2p } = asked
        const partial: DeepPartial<Connection> = {
          id,
          payload: 'IP',
          path: { index: 1, pathSegments: [{ id: clientId }, { id }] },
        }
        const context = Connection.fromPartial({ context: { ipContext } }).context
        state.answer = { context }
        state.mechanism = kernel(endpointUrl, asked.endpointName ?? 'nse-1')
        const mechanism = kernel(asked.clientUrl ?? clientUrl, asked.name ?? 'nsm-1')
        const connection = { ...Connection.fromPartial(partial), mechanism }
        return service.request(ctx, NetworkServiceRequest.fromPartial({ connection }))
      }),
    close: (conn: Connection, pods?: Pods): Promise<void> =>
      pods === undefined
        ? service.close(background(), conn)
        : during(pods, undefined, (ctx, [clientUrl = '']) =>
            service.close(ctx, { ...conn, mechanism: kernel(clientUrl, 'nsm-1') }),
          ),
  }
}

async function pods(t: { teardown(run: () => void): void }): Promise<Pods> {
  const [client = -1, endpoint = -1] = await netnses(t, 2)
  return { client, endpoint }
}

const everything = ['links', 'addresses', 'routes', 'rules', 'neighbours'] as const

function indexOf({ links }: NamespaceState, name: string): number | undefined {
  return links.find((link) => link.name === name)?.index
}

async function linkCount({ client, endpoint }: Pods): Promise<number> {
  const states = await Promise.all([client, endpoint].map((fd) => native.read(fd, ['links'])))
  return states.reduce((sum, { links }) => sum + links.length - 1, 0)
}

t.test('a request wires the two pods, and nothing else', async (t) => {
  const two = await pods(t)
  const fds = readdirSync('/proc/self/fd').length
  const answer = await forwarder().request(two)
  t.equal(answer.context?.MTU, 9000)
  await until('nothing is held', () => readdirSync('/proc/self/fd').length === fds)
  t.match(await inNetns(two.client, 'ip', 'route'), /^172\.16\.1\.101 dev nsm-1( linkdown)? *$/m)
  t.match(await inNetns(two.endpoint, 'ip', 'route'), /^172\.16\.1\.100 dev nse-1( linkdown)? *$/m)
  const [, link] = await ip(two.client, 'addr')
  t.match(link, { ifname: 'nsm-1', operstate: 'UP', mtu: 9000 })
  t.equal((await inNetns(two.client, 'cat', '/proc/sys/net/ipv6/conf/nsm-1/accept_ra')).trim(), '0')
  t.match(await inNetns(two.client, 'ip', 'neigh'), /172.16.1.101 dev nsm-1 lladdr 02:[0-9a-f:]+ PERMANENT/)
  t.type(await pingFrom(two.client, '172.16.1.100', '172.16.1.101', 5_000), 'number')
  t.type(await pingFrom(two.endpoint, 'fd00::101', 'fd00::100', 5_000), 'number')
})

t.test('a refresh changes nothing that is right, and brings back what is lost', async (t) => {
  const two = await pods(t)
  const { request } = forwarder()
  await request(two)
  const before = await native.read(two.client, everything)
  await request(two)
  // The kernel itself is a little later with what it makes for link-local addresses and multicast groups.
  const isOwn = ({ prefix }: { readonly prefix: string }): boolean => !/^f[ef]/.test(prefix)
  const strip = ({ links, neighbours, routes, addresses, rules }: NamespaceState) => ({
    rules,
    routes: routes.filter(isOwn),
    addresses: addresses.filter(isOwn),
    neighbours: neighbours.filter((one) => one.state === 'permanent'),
    names: links.map(({ name, index, mac }) => [name, index, mac]),
  })
  t.same(strip(await native.read(two.client, everything)), strip(before))
  await native.apply(two.client, [{ op: 'link', name: 'nsm-1', up: false }])
  const down = await native.read(two.client, everything)
  t.notOk(down.routes.some((route) => route.dev === 'nsm-1' && route.table === 254))
  t.notOk(down.addresses.some(({ prefix }) => prefix === 'fd00::100/128'))
  await request(two)
  const up = await native.read(two.client, everything)
  t.equal(indexOf(up, 'nsm-1'), indexOf(before, 'nsm-1'))
  t.type(await pingFrom(two.client, '172.16.1.100', '172.16.1.101', 5_000), 'number')
  t.type(await pingFrom(two.client, 'fd00::100', 'fd00::101', 5_000), 'number')
})

t.test('a changed context changes what differs', async (t) => {
  const two = await pods(t)
  const { request } = forwarder()
  await request(two)
  const before = indexOf(await native.read(two.client, ['links']), 'nsm-1')
  await request(two, { ipContext: { srcIpAddrs: ['10.0.0.2/32'], dstIpAddrs: ['10.0.0.1/32'] } })
  const after = await native.read(two.client, everything)
  t.equal(indexOf(after, 'nsm-1'), before)
  const global = after.addresses.filter(({ dev, scope }) => dev === 'nsm-1' && scope === 'global')
  t.same(
    global.map(({ prefix }) => prefix),
    ['10.0.0.2/32'],
  )
  t.match(await inNetns(two.client, 'ip', 'route'), /^10\.0\.0\.1 dev nsm-1 scope link *\n$/)
})

t.test('another endpoint gets a new link, and the old one is gone', async (t) => {
  const first = await pods(t)
  const [other = -1] = await netnses(t, 1)
  const { request } = forwarder()
  await request(first)
  await request({ client: first.client, endpoint: other })
  t.equal((await native.read(first.endpoint, ['links'])).links.length, 1)
  t.type(await pingFrom(other, '172.16.1.101', '172.16.1.100', 5_000), 'number')
})

t.test('after a restart the link is adopted as it is', async (t) => {
  const two = await pods(t)
  await forwarder().request(two)
  const before = indexOf(await native.read(two.client, ['links']), 'nsm-1')
  const restarted = forwarder()
  const conn = await restarted.request(two)
  t.equal(indexOf(await native.read(two.client, ['links']), 'nsm-1'), before)
  await restarted.close(conn, two)
  t.equal(await linkCount(two), 0)
})

t.test(
  'a forwarder of another name replaces the link of its forerunner, of the same client alone',
  async (t) => {
    const two = await pods(t)
    await forwarder('fwd-x').request(two, { id: 'a', clientId: 'pod-0' })
    const before = indexOf(await native.read(two.client, ['links']), 'nsm-1')
    const { request } = forwarder('fwd-y')
    const stranger = request(two, { id: 'b', clientId: 'pod-1' })
    await t.rejects(stranger, { code: 'FAILED_PRECONDITION', message: /not this connection's/ })
    t.equal(indexOf(await native.read(two.client, ['links']), 'nsm-1'), before)
    await request(two, { id: 'c', clientId: 'pod-0' })
    t.not(indexOf(await native.read(two.client, ['links']), 'nsm-1'), before)
    t.equal(await linkCount(two), 2)
  },
)

t.test('links that an upstream forwarder left of the same client are replaced', async (t) => {
  const two = await pods(t)
  const [elsewhere = -1] = await netnses(t, 1)
  for (const [fd, name, alias] of [
    [two.client, 'nsm-1', 'server-pod-0'],
    [two.endpoint, 'nse-1', 'client-pod-0'],
  ] as const) {
    await native.createVeth({
      a: { netnsFd: fd, name },
      b: { netnsFd: elsewhere, name: `x-${name}` },
      mtu: 1500,
      group: 0,
    })
    await native.apply(fd, [{ op: 'link', name, alias }])
  }
  const { request } = forwarder()
  const stranger = request(two, { id: 'b', clientId: 'pod-1' })
  await t.rejects(stranger, { code: 'FAILED_PRECONDITION', message: /not this connection's/ })
  await request(two, { id: 'a', clientId: 'pod-0' })
  t.equal(await linkCount(two), 2)
  const { links } = await native.read(two.client, ['links'])
  t.equal(links.find(({ name }) => name === 'nsm-1')?.alias, 'server-pod-0', 'which upstream would replace')
  t.type(await pingFrom(two.client, '172.16.1.100', '172.16.1.101', 5_000), 'number')
})

t.test('policies of connections that one pod makes at once have tables of their own', async (t) => {
  const two = await pods(t)
  const { request } = forwarder()
  await Promise.all(
    [1, 2, 3, 4].map((n) =>
      request(two, {
        id: `${n}`,
        name: `nsm-${n}`,
        endpointName: `nse-${n}`,
        ipContext: { srcIpAddrs: [`10.0.${n}.1/32`], policies: [{ dstPort: `${n}` }, { srcPort: `${n}` }] },
      }),
    ),
  )
  const { rules, routes } = await native.read(two.client, ['rules', 'routes'])
  const tables = rules.map(({ table }) => table).filter((table) => table < 253)
  t.same(
    tables.toSorted((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8],
  )
  for (const table of tables) t.equal(routes.filter((route) => route.table === table).length, 1, `${table}`)
})

t.test('an interface that is not ours is left alone, whichever side it is on', async (t) => {
  for (const [side, ifname] of [
    ['client', 'nsm-1'],
    ['endpoint', 'nse-1'],
  ] as const) {
    const two = await pods(t)
    const [third = -1] = await netnses(t, 1)
    const a = { netnsFd: two[side], name: ifname }
    await native.createVeth({ a, b: { netnsFd: third, name: 'x' }, mtu: 1500, group: 0 })
    const { request, state } = forwarder()
    const message = new RegExp(`interface ${ifname} of the ${side} exists already`)
    await t.rejects(request(two), { code: 'FAILED_PRECONDITION', message })
    t.equal(state.closed, 1)
    t.equal(await linkCount(two), 1)
  }
})

t.test('what fails half way is taken back whole', async (t) => {
  const two = await pods(t)
  const eth0 = {
    a: { netnsFd: two.client, name: 'eth0' },
    b: { netnsFd: two.endpoint, name: 'eth0' },
    mtu: 1500,
    group: 0,
  }
  await native.createVeth(eth0)
  await native.apply(two.client, [
    { op: 'link', name: 'eth0', up: true },
    { op: 'address', dev: 'eth0', prefix: '10.5.0.2/24' },
    { op: 'route', dev: 'eth0', prefix: '0.0.0.0/0', gateway: '10.5.0.1', scope: 'global' },
  ])
  const { routes, rules } = await native.read(two.client, ['routes', 'rules'])
  const { request, state } = forwarder()
  const greedy = { ...p2p, srcRoutes: [{ prefix: '0.0.0.0/0' }] }
  await t.rejects(request(two, { ipContext: greedy }), { code: 'FAILED_PRECONDITION', message: /on eth0/ })
  const policies = [{ from: '172.16.1.100/32' }]
  const wrong = { ...p2p, policies, srcRoutes: [{ prefix: '224.0.0.0/4', nextHop: '0.0.0.0' }] }
  await t.rejects(request(two, { ipContext: wrong }), {
    code: 'INVALID_ARGUMENT',
    message: /RTM_NEWROUTE 224/,
  })
  const controller = new AbortController()
  const cancelled = request(two, { signal: controller.signal })
  controller.abort(new Error('gone'))
  await t.rejects(cancelled, { message: 'gone' })
  t.equal(state.closed, 3)
  t.equal(await linkCount(two), 2)
  const after = await native.read(two.client, ['routes', 'rules'])
  t.same(after.rules, rules)
  const ofPod = (all: NamespaceState['routes']) => all.filter(({ prefix }) => !prefix.startsWith('fe80:'))
  t.same(ofPod(after.routes), ofPod(routes))
})

t.test('names, namespaces and mechanisms that may not be are refused', async (t) => {
  const two = await pods(t)
  const { request, state } = forwarder()
  for (const name of ['lo', 'eth0', '..', 'a/b', 'sixteen-bytes-xx', 'é', '%d', 'a b']) {
    await t.rejects(request(two, { name }), { code: 'INVALID_ARGUMENT' }, name)
    await t.rejects(
      request(two, { endpointName: name }),
      { code: 'INVALID_ARGUMENT', message: /of the endpoint/ },
      name,
    )
  }
  for (const clientUrl of ['', 'file:///proc/1/ns/net', 'file:///proc/self/ns/net', 'inode://4/4026531840']) {
    await t.rejects(request(two, { clientUrl }), { code: 'FAILED_PRECONDITION', message: /no descriptor/ })
  }
  const own = native.ownNetns()
  const file = native.open('/proc/self/status', 'read')
  t.teardown(() => [own, file].forEach((fd) => native.close(fd)))
  await t.rejects(request({ ...two, client: own }), {
    code: 'PERMISSION_DENIED',
    message: /own network namespace/,
  })
  await t.rejects(request({ ...two, endpoint: file }), { code: 'PERMISSION_DENIED', message: /is a file/ })
  t.ok(state.closed > 0)
  t.equal(await linkCount(two), 0)
})

t.test('two connections never share an interface', async (t) => {
  const two = await pods(t)
  const { request } = forwarder()
  await request(two, { id: 'a' })
  await t.rejects(request(two, { id: 'b' }), { code: 'FAILED_PRECONDITION', message: /another connection/ })
  await request(two, { id: 'c', name: 'nsm-2', endpointName: 'nse-2' })
  const both = await Promise.allSettled(
    ['d', 'e'].map((id) => request(two, { id, name: 'nsm-3', endpointName: 'nse-3' })),
  )
  t.equal(both.filter(({ status }) => status === 'fulfilled').length, 1)
  t.equal(await linkCount(two), 6)
})

t.test('close takes link and rules away, with or without descriptors', async (t) => {
  const two = await pods(t)
  const { request, close, state } = forwarder()
  const policies = [{ from: '172.16.1.100/32', proto: '6', dstPort: '80' }]
  const conn = await request(two, { ipContext: { ...p2p, policies } })
  t.match(await inNetns(two.client, 'ip', 'rule'), /from 172.16.1.100 ipproto tcp dport 80 lookup 1/)
  t.match(await inNetns(two.client, 'ip', 'route', 'show', 'table', '1'), /default dev nsm-1/)
  await close(conn, two)
  t.equal(await linkCount(two), 0)
  t.notMatch(await inNetns(two.client, 'ip', 'rule'), /ipproto/)
  occupant(t, two.endpoint)
  const again = await request(two)
  await until('the occupant can be seen', async () => {
    await close(again)
    return (await linkCount(two)) === 0 || (await request(two)) === undefined
  })
  t.ok(state.closed >= 2)
})
