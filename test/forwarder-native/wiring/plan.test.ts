import { Connection } from '@nsm/api/gen/connection.js'
import type { DeepPartial, IPContext } from '@nsm/api/gen/connectioncontext.js'
import { plan, planRemoval, type WantedLink } from '@nsm/forwarder-native/wiring/plan.js'
import { mtuOf, wantedSide, type WantedSide } from '@nsm/forwarder-native/wiring/side.js'
import type { LinkInfo, NamespaceState } from '@nsm/native/surface.js'
import t from 'tap'

type ContextPart = DeepPartial<IPContext>

const mac = '02:00:00:00:00:01'
const peerMac = '02:00:00:00:00:02'
const link: WantedLink = { name: 'nsm-1', alias: 'nsm:a:client', mtu: 1500, mac, group: 7 }
const empty: NamespaceState = { links: [], addresses: [], routes: [], rules: [], neighbours: [] }
const counters = { rxBytes: 0, txBytes: 0, rxPackets: 0, txPackets: 0 }
const made: LinkInfo = { ...link, ...counters, index: 2, kind: 'veth', up: true, peerIndex: 2 }
const p2p = { srcIpAddrs: ['172.16.1.100/32'], dstIpAddrs: ['172.16.1.101/32'] }

function connection(ipContext: ContextPart, more: DeepPartial<Connection> = {}): Connection {
  const partial: DeepPartial<Connection> = { id: 'a', payload: 'IP', context: { ipContext }, ...more }
  return Connection.fromPartial(partial)
}

function wanted(ipContext: ContextPart, side: 'client' | 'endpoint' = 'client', parameters = {}): WantedSide {
  const mechanism = { cls: 'LOCAL', type: 'KERNEL', parameters }
  return wantedSide(connection(ipContext), side, mechanism, peerMac)
}

t.test('each side has its own addresses, and a link-scope route to the other', (t) => {
  t.match(wanted(p2p), {
    addresses: ['172.16.1.100/32'],
    routes: [{ prefix: '172.16.1.101/32', scope: 'link', gateway: undefined }],
    neighbours: [{ ip: '172.16.1.101', mac: peerMac, state: 'permanent' }],
  })
  t.match(wanted(p2p, 'endpoint'), {
    addresses: ['172.16.1.101/32'],
    routes: [{ prefix: '172.16.1.100/32', scope: 'link' }],
    neighbours: [{ ip: '172.16.1.100' }],
  })
  t.end()
})

t.test('a peer inside an own network needs no route', (t) => {
  const { routes } = wanted({ srcIpAddrs: ['10.0.0.5/24'], dstIpAddrs: ['10.0.0.1/24', '10.9.0.1/16'] })
  t.same(routes, [{ prefix: '10.9.0.0/16', scope: 'link' }])
  t.end()
})

t.test('a route of the context replaces the implicit one of the same prefix', (t) => {
  t.same(wanted({ ...p2p, srcRoutes: [{ prefix: '172.16.1.101/32' }] }).routes, [
    { prefix: '172.16.1.101/32', scope: 'global' },
  ])
  t.end()
})

t.test('a route goes through its next hop, else through the first peer address of its family', (t) => {
  const { routes } = wanted({
    srcIpAddrs: ['172.16.1.100/32', 'fd00::1/128'],
    dstIpAddrs: ['172.16.1.101/32', 'fd00::2/128'],
    srcRoutes: [
      { prefix: '10.1.2.3/16' },
      { prefix: '10.2.0.0/16', nextHop: '172.16.9.9' },
      { prefix: 'fd01::/64' },
      { prefix: 'fd00::2/128' },
    ],
  })
  t.same(routes.slice(1), [
    { prefix: 'fd00::2/128', scope: 'global' },
    { prefix: '10.1.0.0/16', scope: 'global', gateway: '172.16.1.101' },
    { prefix: '10.2.0.0/16', scope: 'global', gateway: '172.16.9.9' },
    { prefix: 'fd01::/64', scope: 'global', gateway: 'fd00::2' },
  ])
  const alone = wanted({ srcIpAddrs: ['10.0.0.1/32'], srcRoutes: [{ prefix: 'fd01::/64' }] })
  t.same(alone.routes, [{ prefix: 'fd01::/64', scope: 'global' }])
  t.end()
})

t.test('neighbours of the context are reachable, of an ethernet payload nothing is assumed', (t) => {
  const ipContext = { ...p2p, ipNeighbors: [{ ip: '172.16.1.7', hardwareAddress: 'AA:00:00:00:00:07' }] }
  t.same(wanted(ipContext).neighbours[1], { ip: '172.16.1.7', mac: 'aa:00:00:00:00:07', state: 'reachable' })
  const ethernet = connection(ipContext, { payload: 'ETHERNET' })
  t.equal(
    wantedSide(ethernet, 'client', { cls: '', type: 'KERNEL', parameters: {} }, peerMac).neighbours.length,
    1,
  )
  t.end()
})

t.test('a vlan leaves addresses and routes alone', (t) => {
  const side = wanted({ ...p2p, srcRoutes: [{ prefix: 'junk' }] }, 'client', { vlan: '7' })
  t.match(side, { configured: false, addresses: [], routes: [], policies: [], neighbours: [] })
  t.ok(plan(link, side, empty, true).every(({ op }) => op === 'sysctl' || op === 'link'))
  t.end()
})

t.test('what cannot be read is refused by its field', (t) => {
  const cases: [ContextPart, RegExp][] = [
    [{ srcIpAddrs: ['10.0.0.1'] }, /src_ip_addrs must be as .* not "10.0.0.1"/],
    [{ dstIpAddrs: ['10.0.0.1/33'] }, /dst_ip_addrs/],
    [{ ...p2p, srcRoutes: [{ prefix: 'x' }] }, /route prefix/],
    [{ ...p2p, srcRoutes: [{ prefix: '10.0.0.0/8', nextHop: 'fd00::1' }] }, /next_hop/],
    [{ ...p2p, ipNeighbors: [{ ip: 'x', hardwareAddress: mac }] }, /ip_neighbors ip/],
    [{ ...p2p, ipNeighbors: [{ ip: '10.0.0.1', hardwareAddress: 'x' }] }, /hardware_address/],
    [{ ...p2p, srcRoutes: Array.from({ length: 5000 }, () => ({ prefix: '10.0.0.0/8' })) }, /5000 entries/],
    [{ ...p2p, policies: [{ from: 'x' }] }, /policy from/],
    [{ ...p2p, policies: [{ proto: '300' }] }, /policy proto/],
    [{ ...p2p, policies: [{ dstPort: '9-1' }] }, /policy dst_port/],
    [{ ...p2p, policies: [{ srcPort: '70000' }] }, /policy src_port/],
    [{ ...p2p, policies: [{ routes: [{ prefix: '10.0.0.0/8', nextHop: 'x' }] }] }, /policy route next_hop/],
  ]
  for (const [ipContext, message] of cases) {
    t.throws(() => wanted(ipContext), { code: 'INVALID_ARGUMENT', message })
  }
  t.throws(() => mtuOf(connection(p2p, { context: { MTU: 12 } })), { code: 'INVALID_ARGUMENT' })
  t.equal(mtuOf(connection(p2p)), 9000)
  t.equal(mtuOf(connection(p2p, { context: { MTU: 1400 } })), 1400)
  t.end()
})

t.test('a new end gets everything, in an order that the kernel takes', (t) => {
  const side = wanted({
    ...p2p,
    srcIpAddrs: ['172.16.1.100/32', 'fd00::1/128'],
    srcRoutes: [{ prefix: '10.0.0.0/8' }],
  })
  t.same(plan({ ...link, name: 'a.b' }, side, empty, true), [
    { op: 'sysctl', name: 'net.ipv4.ping_group_range', value: '0 2147483647' },
    { op: 'sysctl', name: 'net.ipv6.conf.a/b.accept_ra', value: '0', ifPresent: true },
    { op: 'sysctl', name: 'net.ipv6.conf.a/b.accept_redirects', value: '0', ifPresent: true },
    { op: 'sysctl', name: 'net.ipv6.conf.a/b.disable_ipv6', value: '0' },
    { op: 'link', name: 'a.b', up: true, alias: 'nsm:a:client' },
    { op: 'address', dev: 'a.b', prefix: '172.16.1.100/32' },
    { op: 'address', dev: 'a.b', prefix: 'fd00::1/128' },
    { op: 'route', dev: 'a.b', prefix: '172.16.1.101/32', scope: 'link' },
    { op: 'route', dev: 'a.b', prefix: '10.0.0.0/8', scope: 'global', gateway: '172.16.1.101', onlink: true },
    { op: 'neighbour', dev: 'a.b', ip: '172.16.1.101', mac: peerMac, state: 'permanent' },
  ])
  t.end()
})

t.test('IPv6 is switched on for routes of policies, too, and only when there is some', (t) => {
  const settings = (context: ContextPart): string[] =>
    plan(link, wanted(context), empty, true).flatMap((one) => (one.op === 'sysctl' ? [one.name] : []))
  const on = 'net.ipv6.conf.nsm-1.disable_ipv6'
  t.notOk(settings({ ...p2p, policies: [{ from: '10.0.0.1/32' }] }).includes(on))
  t.ok(settings({ ...p2p, policies: [{ from: '2004::3/120' }] }).includes(on))
  t.ok(settings({ ...p2p, srcRoutes: [{ prefix: 'fd00::/8', nextHop: 'fd00::1' }] }).includes(on))
  t.end()
})

t.test('local networks are routed where the endpoint asks for it, in its own pod', (t) => {
  const parameters = { routeLocalNet: 'true' }
  const setting = { op: 'sysctl', name: 'net.ipv4.conf.nsm-1.route_localnet', value: '1' }
  const has = (side: WantedSide, isNew = true): boolean =>
    plan(link, side, empty, isNew).some((one) => JSON.stringify(one) === JSON.stringify(setting))
  t.ok(has(wanted(p2p, 'endpoint', parameters)))
  t.ok(has(wanted(p2p, 'endpoint', { ...parameters, vlan: '7' })))
  t.notOk(has(wanted(p2p, 'endpoint', parameters), false))
  t.notOk(has(wanted(p2p, 'client', parameters)))
  t.notOk(has(wanted(p2p, 'endpoint', { routeLocalNet: 'false' })))
  t.end()
})

const settled: NamespaceState = {
  links: [made],
  addresses: [
    { dev: 'nsm-1', prefix: '172.16.1.100/32', scope: 'global' },
    { dev: 'nsm-1', prefix: 'fe80::1/64', scope: 'link' },
  ],
  routes: [
    { dev: 'nsm-1', prefix: '172.16.1.101/32', scope: 'link', table: 254 },
    { dev: 'nsm-1', prefix: 'fe80::/64', scope: 'global', table: 254 },
    { dev: 'nsm-1', prefix: '172.16.1.100/32', scope: 'host', table: 255 },
  ],
  rules: [],
  neighbours: [{ dev: 'nsm-1', ip: '172.16.1.101', mac: peerMac, state: 'permanent' }],
}

t.test('what is as wanted is left alone', (t) => {
  t.same(plan(link, wanted(p2p), settled, false), [])
  t.end()
})

t.test('only what differs changes, and what is gone is taken away', (t) => {
  const other = { srcIpAddrs: ['172.16.1.102/32'], dstIpAddrs: ['172.16.1.103/32'] }
  t.same(
    plan({ ...link, mtu: 1400 }, wanted(other), { ...settled, links: [{ ...made, up: false }] }, false),
    [
      { op: 'link', name: 'nsm-1', up: true, mtu: 1400 },
      { op: 'delete-address', dev: 'nsm-1', prefix: '172.16.1.100/32' },
      { op: 'address', dev: 'nsm-1', prefix: '172.16.1.102/32' },
      { op: 'delete-route', dev: 'nsm-1', prefix: '172.16.1.101/32', table: 254, scope: 'link' },
      { op: 'route', dev: 'nsm-1', prefix: '172.16.1.103/32', scope: 'link' },
      { op: 'delete-neighbour', dev: 'nsm-1', ip: '172.16.1.101', mac: peerMac, state: 'permanent' },
      { op: 'neighbour', dev: 'nsm-1', ip: '172.16.1.103', mac: peerMac, state: 'permanent' },
    ],
  )
  t.end()
})

t.test("a pod's own route or address is not replaced, another link of ours may be", (t) => {
  const eth0 = { ...made, index: 1, name: 'eth0', alias: '', group: 0 }
  const base = {
    ...empty,
    links: [eth0],
    routes: [{ dev: 'eth0', prefix: '0.0.0.0/0', scope: 'global' as const, table: 254 }],
  }
  const greedy = wanted({ ...p2p, srcRoutes: [{ prefix: '0.0.0.0/0' }] })
  t.throws(() => plan(link, greedy, base, true), {
    code: 'FAILED_PRECONDITION',
    message: /route 0.0.0.0\/0 of the connection context is the pod's own already, on eth0/,
  })
  const addressed = {
    ...empty,
    links: [eth0],
    addresses: [{ dev: 'eth0', prefix: '172.16.1.100/16', scope: 'global' as const }],
  }
  t.throws(() => plan(link, wanted(p2p), addressed, true), {
    code: 'FAILED_PRECONDITION',
    message: /address 172.16.1.100/,
  })
  const ours = { ...base, links: [{ ...eth0, alias: 'nsm:b:client' }] }
  t.ok(
    plan(link, greedy, ours, true).some((change) => change.op === 'route' && change.prefix === '0.0.0.0/0'),
  )
  t.end()
})

const policies = [
  {
    from: '172.16.1.100',
    proto: '6',
    dstPort: '6666',
    routes: [{ prefix: '10.1.0.0/16', nextHop: '172.16.1.101' }],
  },
  { from: '172.16.1.100/32', proto: '17', srcPort: '5-7' },
]

t.test('policies take the lowest free tables and keep them', (t) => {
  const used = { ...settled, rules: [{ family: 4 as const, table: 1, priority: 9 }] }
  const changes = plan(link, wanted({ ...p2p, policies }), used, false)
  t.same(changes, [
    {
      op: 'route',
      dev: 'nsm-1',
      prefix: '10.1.0.0/16',
      scope: 'global',
      gateway: '172.16.1.101',
      onlink: true,
      table: 2,
    },
    { op: 'rule', family: 4, from: '172.16.1.100/32', ipProto: 6, dstPort: [6666, 6666], table: 2 },
    { op: 'route', dev: 'nsm-1', prefix: '0.0.0.0/0', scope: 'global', table: 3 },
    { op: 'rule', family: 4, from: '172.16.1.100/32', ipProto: 17, srcPort: [5, 7], table: 3 },
  ])
  const first = {
    family: 4 as const,
    from: '172.16.1.100/32',
    ipProto: 6,
    dstPort: [6666, 6666] as const,
    table: 2,
    priority: 8,
  }
  const second = {
    family: 4 as const,
    from: '172.16.1.100/32',
    ipProto: 17,
    srcPort: [5, 7] as const,
    table: 3,
    priority: 7,
  }
  const routes = [
    ...settled.routes,
    { dev: 'nsm-1', prefix: '10.1.0.0/16', gateway: '172.16.1.101', scope: 'global' as const, table: 2 },
    { dev: 'nsm-1', prefix: '0.0.0.0/0', scope: 'global' as const, table: 3 },
  ]
  const done: NamespaceState = { ...used, routes, rules: [...used.rules, first, second] }
  t.same(plan(link, wanted({ ...p2p, policies }), done, false), [])
  t.same(plan(link, wanted({ ...p2p, policies: policies.slice(0, 1) }), done, false), [
    { op: 'delete-rule', ...second },
    { op: 'delete-route', dev: 'nsm-1', prefix: '0.0.0.0/0', table: 3, scope: 'global' },
  ])
  const lost = { ...done, routes: settled.routes }
  t.same(plan(link, wanted({ ...p2p, policies }), lost, false), [
    {
      op: 'route',
      dev: 'nsm-1',
      prefix: '10.1.0.0/16',
      scope: 'global',
      gateway: '172.16.1.101',
      onlink: true,
      table: 2,
    },
    { op: 'route', dev: 'nsm-1', prefix: '0.0.0.0/0', scope: 'global', table: 3 },
  ])
  t.same(planRemoval('nsm-1', done), [
    { op: 'delete-rule', ...first },
    { op: 'delete-rule', ...second },
  ])
  t.end()
})
