import { native } from '@nsm/native/native.js'
import t from 'tap'
import { netnses, pingFrom } from '../kit/netns.ts'

t.test('an echo goes over a veth pair in both families, and its absence is told', async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  await native.createVeth({ a: { netnsFd: a, name: 'x' }, b: { netnsFd: b, name: 'x' }, mtu: 1500, group: 1 })
  for (const [fd, last] of [
    [a, 1],
    [b, 2],
  ] as const) {
    await native.apply(fd, [
      { op: 'sysctl', name: 'net.ipv4.ping_group_range', value: '0 2147483647' },
      { op: 'link', name: 'x', up: true },
      { op: 'address', dev: 'x', prefix: `10.0.0.${last}/24` },
      { op: 'address', dev: 'x', prefix: `fd00::${last}/64` },
    ])
  }
  const [v4, v6, silent, unbound, mixed] = await Promise.all([
    pingFrom(a, '10.0.0.1', '10.0.0.2', 5_000),
    pingFrom(a, 'fd00::1', 'fd00::2', 5_000),
    pingFrom(a, '10.0.0.1', '10.0.0.77', 50),
    pingFrom(a, '10.0.0.9', '10.0.0.2', 1_000),
    pingFrom(a, '10.0.0.1', 'fd00::2', 1_000),
  ])
  t.type(v4, 'number')
  t.type(v6, 'number')
  t.equal(silent, null)
  t.equal(unbound, 'EADDRNOTAVAIL')
  t.equal(mixed, 'EINVAL')
})
