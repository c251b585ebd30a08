import type { Change, NativeError } from '@nsm/native/surface.js'
import { native } from '@nsm/native/native.js'
import t from 'tap'
import { inNetns, ip, netnses } from '../kit/netns.ts'

const group = 0x6e736d

async function pair(t: { teardown(run: () => void): void }): Promise<[number, number]> {
  const [a = -1, b = -1] = await netnses(t, 2)
  await native.createVeth({
    a: { netnsFd: a, name: 'nsm-1' },
    b: { netnsFd: b, name: 'nsm-2' },
    mtu: 1400,
    group,
  })
  return [a, b]
}

t.test('a veth pair lands in both namespaces, and nowhere else', async (t) => {
  const [a, b] = await pair(t)
  for (const [fd, name] of [
    [a, 'nsm-1'],
    [b, 'nsm-2'],
  ] as const) {
    const links = await ip(fd, 'link')
    t.same(
      links.map((link) => link['ifname']),
      ['lo', name],
    )
    t.match(links[1], {
      mtu: 1400,
      operstate: 'DOWN',
      num_tx_queues: 1,
      num_rx_queues: 1,
      linkinfo: { info_kind: 'veth' },
    })
  }
  t.match((await native.read(a, ['links'])).links[1], {
    name: 'nsm-1',
    kind: 'veth',
    group,
    up: false,
    mtu: 1400,
  })
})

t.test('every kind of change does what ip then shows', async (t) => {
  const [a, b] = await pair(t)
  await native.apply(b, [{ op: 'link', name: 'nsm-2', up: true }])
  const changes: Change[] = [
    { op: 'sysctl', name: 'net.ipv6.conf.nsm-1.accept_ra', value: '0' },
    {
      op: 'link',
      name: 'nsm-1',
      up: true,
      alias: 'nsm:x:server',
      mac: '02:00:00:00:00:07',
      mtu: 1300,
      group: 9,
    },
    { op: 'address', dev: 'nsm-1', prefix: '10.0.0.1/24' },
    { op: 'address', dev: 'nsm-1', prefix: 'fd00::1/64' },
    {
      op: 'route',
      dev: 'nsm-1',
      prefix: '10.9.0.0/16',
      gateway: '10.0.0.2',
      scope: 'global',
      source: '10.0.0.1',
    },
    { op: 'route', dev: 'nsm-1', prefix: '10.8.0.0/16', scope: 'link', table: 1000 },
    {
      op: 'route',
      dev: 'nsm-1',
      prefix: '10.7.0.0/16',
      gateway: '192.168.9.9',
      scope: 'global',
      onlink: true,
    },
    { op: 'route', dev: 'nsm-1', prefix: 'fd09::/64', gateway: 'fd00::2', scope: 'global' },
    {
      op: 'rule',
      family: 4,
      table: 1000,
      priority: 5,
      from: '10.0.0.1/32',
      ipProto: 6,
      dstPort: [80, 90],
      srcPort: [1, 2],
    },
    { op: 'rule', family: 6, table: 1000, priority: 6, from: 'fd00::1/128' },
    { op: 'neighbour', dev: 'nsm-1', ip: '10.0.0.2', mac: '02:00:00:00:00:08', state: 'permanent' },
    { op: 'neighbour', dev: 'nsm-1', ip: 'fd00::2', mac: '02:00:00:00:00:08', state: 'reachable' },
  ]
  await native.apply(a, changes)
  await native.apply(a, changes)
  t.equal((await inNetns(a, 'cat', '/proc/sys/net/ipv6/conf/nsm-1/accept_ra')).trim(), '0')
  const [link] = await ip(a, 'addr', 'show', 'nsm-1')
  t.match(link, {
    ifalias: 'nsm:x:server',
    address: '02:00:00:00:00:07',
    mtu: 1300,
    operstate: 'UP',
    group: '9',
  })
  const addresses = link?.['addr_info'] as { local: string; tentative?: boolean; nodad?: boolean }[]
  t.match(addresses.map((one) => one.local).sort(), ['10.0.0.1', 'fd00::1', /^fe80/])
  t.equal(addresses.find((one) => one.local === 'fd00::1')?.tentative, undefined)
  t.equal(
    (await inNetns(a, 'ip', 'route', 'show', 'table', '1000')).trim(),
    '10.8.0.0/16 dev nsm-1 scope link',
  )
  const main = new Set((await inNetns(a, 'ip', 'route')).split('\n').map((line) => line.trim()))
  t.ok(main.has('10.9.0.0/16 via 10.0.0.2 dev nsm-1 src 10.0.0.1'))
  t.ok(main.has('10.7.0.0/16 via 192.168.9.9 dev nsm-1 onlink'))
  t.match(await inNetns(a, 'ip', '-6', 'route'), /fd09::\/64 via fd00::2 dev nsm-1/)
  t.match(await inNetns(a, 'ip', 'rule'), /5:\tfrom 10.0.0.1 ipproto tcp sport 1-2 dport 80-90 lookup 1000/)
  t.match(await inNetns(a, 'ip', '-6', 'rule'), /6:\tfrom fd00::1 lookup 1000/)
  t.match(await inNetns(a, 'ip', 'neigh'), /10.0.0.2 dev nsm-1 lladdr 02:00:00:00:00:08 PERMANENT/)
  t.match(await inNetns(a, 'ip', 'neigh'), /fd00::2 dev nsm-1 lladdr 02:00:00:00:00:08 REACHABLE/)
})

t.test('what was made is read, and deleted; deleting twice is no error', async (t) => {
  const [a] = await pair(t)
  const rule = { family: 4, table: 7, priority: 9, from: '10.0.0.0/8', dstPort: [1, 1] } as const
  const route = { dev: 'nsm-1', prefix: '10.8.0.0/16', scope: 'link', table: 7 } as const
  await native.apply(a, [
    { op: 'link', name: 'nsm-1', up: true },
    { op: 'address', dev: 'nsm-1', prefix: '10.0.0.1/32' },
    { op: 'route', ...route },
    { op: 'rule', ...rule },
    { op: 'neighbour', dev: 'nsm-1', ip: '10.0.0.2', mac: '02:00:00:00:00:08', state: 'permanent' },
  ])
  const state = await native.read(a, ['addresses', 'routes', 'rules', 'neighbours'])
  t.same(state.links, [])
  t.ok(
    state.addresses.some(
      (one) => one.dev === 'nsm-1' && one.prefix === '10.0.0.1/32' && one.scope === 'global',
    ),
  )
  t.match(
    state.routes.filter((one) => one.table === 7),
    [route],
  )
  t.match(
    state.rules.filter((one) => one.table === 7),
    [rule],
  )
  t.match(
    state.neighbours.filter((one) => one.state === 'permanent'),
    [{ dev: 'nsm-1', ip: '10.0.0.2', mac: '02:00:00:00:00:08' }],
  )
  const removal: Change[] = [
    { op: 'delete-neighbour', dev: 'nsm-1', ip: '10.0.0.2', mac: '02:00:00:00:00:08', state: 'permanent' },
    { op: 'delete-rule', ...rule },
    { op: 'delete-route', ...route },
    { op: 'delete-address', dev: 'nsm-1', prefix: '10.0.0.1/32' },
  ]
  await native.apply(a, removal)
  await native.apply(a, removal)
  const after = await native.read(a, ['addresses', 'routes', 'rules', 'neighbours'])
  t.notOk(after.addresses.some((one) => one.prefix === '10.0.0.1/32'))
  t.notOk(after.routes.some((one) => one.table === 7))
  t.notOk(after.rules.some((one) => one.table === 7))
  t.notOk(after.neighbours.some((one) => one.state === 'permanent'))
})

t.test('a taken name on either side leaves nothing behind', async (t) => {
  const [a, b] = await pair(t)
  for (const [nameA, nameB] of [
    ['nsm-1', 'free'],
    ['free', 'nsm-2'],
  ] as const) {
    const again = native.createVeth({
      a: { netnsFd: a, name: nameA },
      b: { netnsFd: b, name: nameB },
      mtu: 1400,
      group,
    })
    await t.rejects(again, { code: 'EEXIST', operation: 'RTM_NEWLINK', object: `${nameA} and ${nameB}` })
  }
  t.equal((await native.read(a, ['links'])).links.length, 2)
  t.equal((await native.read(b, ['links'])).links.length, 2)
})

t.test('a pair is made with its changes, or not at all', async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  const make = (prefix: string): Promise<void> => {
    const up = { op: 'link', name: 'x', up: true } as const
    return native.createVeth({
      a: { netnsFd: a, name: 'x', changes: [up, { op: 'address', dev: 'x', prefix: '10.0.0.1/24' }] },
      b: { netnsFd: b, name: 'x', changes: [up, { op: 'address', dev: 'x', prefix }] },
      mtu: 1400,
      group,
    })
  }
  await t.rejects(make('junk'), { code: 'EINVAL', object: 'junk', failures: [{ index: 1 }] })
  t.equal((await native.read(a, ['links'])).links.length, 1)
  t.equal((await native.read(b, ['links'])).links.length, 1)
  await make('10.0.0.2/24')
  t.ok((await native.read(b, ['addresses'])).addresses.some(({ prefix }) => prefix === '10.0.0.2/24'))
})

t.test('a setting that this kernel has not is an error, unless it is said to be none', async (t) => {
  const [fd = -1] = await netnses(t, 1)
  const setting = { op: 'sysctl', name: 'net.no.such', value: '1' } as const
  await t.rejects(native.apply(fd, [setting]), { code: 'ENOENT', object: 'net.no.such' })
  await native.apply(fd, [{ ...setting, ifPresent: true }])
})

t.test("names that cannot be are refused in the kernel's words", async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  const make = (name: string): Promise<void> =>
    native.createVeth({ a: { netnsFd: a, name }, b: { netnsFd: b, name: 'x' }, mtu: 1500, group })
  await t.rejects(make('sixteen-bytes-xx'), { code: 'ERANGE', message: /Attribute failed policy validation/ })
  for (const name of ['a/b', 'a b', '..', 'nsm:1', ''])
    await t.rejects(make(name), { code: /EINVAL|ERANGE/ }, name)
  await t.rejects(make('a\0b'), { code: 'EINVAL' })
  await t.rejects(make('x'.repeat(70_000)), { code: 'ENAMETOOLONG' })
  t.equal((await native.read(a, ['links'])).links.length, 1)
})

t.test('a batch goes on after an error and tells all of them', async (t) => {
  const [a] = await pair(t)
  const failure = await native
    .apply(a, [
      { op: 'address', dev: 'nope', prefix: '10.0.0.1/24' },
      { op: 'link', name: 'nsm-1', up: true },
      { op: 'route', dev: 'nsm-1', prefix: '10.1.0.0/16', gateway: '10.9.9.9', scope: 'global' },
      { op: 'route', dev: 'nsm-1', prefix: '10.1.2.0/16', scope: 'global' },
      { op: 'sysctl', name: 'kernel.hostname', value: 'x' },
      { op: 'address', dev: 'nsm-1', prefix: '10.0.0.1/24' },
    ])
    .then(
      () => undefined,
      (reason: NativeError) => reason,
    )
  t.match(failure, { code: 'ENODEV', object: 'nope' })
  t.match(failure?.failures, [
    { index: 0, error: { code: 'ENODEV' } },
    { index: 2, error: { code: 'ENETUNREACH', message: /Nexthop has invalid gateway/ } },
    {
      index: 3,
      error: { code: 'EINVAL', operation: 'RTM_NEWROUTE', object: '10.1.2.0/16 dev nsm-1 table 254' },
    },
    { index: 4, error: { code: 'EINVAL', message: /below net\./ } },
  ])
  t.ok((await native.read(a, ['addresses'])).addresses.some((one) => one.prefix === '10.0.0.1/24'))
})

t.test('a batch longer than one sendmsg arrives whole', async (t) => {
  const [a] = await pair(t)
  const routes = Array.from({ length: 500 }, (_, n) => ({
    op: 'route' as const,
    dev: 'nsm-1',
    prefix: `10.${n >> 8}.${n & 255}.0/24`,
    scope: 'link' as const,
  }))
  await native.apply(a, [{ op: 'link', name: 'nsm-1', up: true }, ...routes])
  t.equal((await native.read(a, ['routes'])).routes.filter((one) => one.table === 254).length, 500)
})
