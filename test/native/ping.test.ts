import { native } from '@nsm/native/native.js'
import t from 'tap'
import { fileURLToPath } from 'node:url'
import { inNetns, netnses } from '../kit/netns.ts'

const moduleUrl = import.meta.resolve('@nsm/native/native.js')

/** Pings from a process inside the namespace; answers what `ping` answered, or the code of its error. */
async function pingFrom(
  netnsFd: number,
  source: string,
  destination: string,
  timeoutMs: number,
): Promise<unknown> {
  const script = `import(process.argv[1])
    .then(({ native }) => native.ping(process.argv[2], process.argv[3], Number(process.argv[4])))
    .then((ms) => console.log(JSON.stringify(ms ?? null)), (e) => console.log(JSON.stringify(e.code)))`
  const out = await inNetns(
    netnsFd,
    process.execPath,
    '-e',
    script,
    fileURLToPath(moduleUrl),
    source,
    destination,
    String(timeoutMs),
  )
  return JSON.parse(out)
}

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
