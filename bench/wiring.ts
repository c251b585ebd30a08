import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { native } from '@nsm/native/native.js'
import type { Change } from '@nsm/native/surface.js'
import { quantile, type Figure, type Section } from './figure.ts'

const group = 0x6e736d
const rounds = 60
const burst = 200
const clumped = 100

/** Two pods: network namespaces that live until `close`. */
interface Pods {
  readonly a: number
  readonly b: number
}

/** What wiring and unwiring cost through the addon, against the kernel's own part and against `ip -batch`, in turns. */
export const wiring: Section = async ({ quick }) => {
  const pods = { a: await native.createNetns(), b: await native.createNetns() }
  try {
    const count = quick ? 5 : rounds
    await alternate(pods, Math.ceil(count / 6))
    const single = await alternate(pods, count)
    const many = await inBurst(pods, quick ? 10 : burst)
    const clump = await clumpGone(pods, quick ? 10 : clumped)
    const blocked = await loopBlocked(pods, count)
    return [...singleFigures(single), ...many, clump, blocked]
  } finally {
    native.close(pods.a)
    native.close(pods.b)
  }
}

type Timings = Readonly<Record<'wired' | 'bare' | 'unwired' | 'batch', number[]>>

/** One of each in turn, so that all see the same machine. */
async function alternate(pods: Pods, count: number): Promise<Timings> {
  const timings: Timings = { wired: [], bare: [], unwired: [], batch: [] }
  for (let round = 0; round < count; round++) {
    timings.wired.push(await timed(() => wire(pods, 'w')))
    timings.unwired.push(await timed(() => native.deleteLinks(pods.a, ['w'])))
    timings.bare.push(await timed(() => createPair(pods, 'k')))
    await native.deleteLinks(pods.a, ['k'])
    timings.batch.push(await timed(() => ipBatch(pods)))
    await native.deleteLinks(pods.a, ['i'])
  }
  return timings
}

function singleFigures({ wired, bare, unwired, batch }: Timings): Figure[] {
  const p50 = quantile(wired, 0.5)
  const spread = (values: readonly number[]) => [quantile(values, 0.1), quantile(values, 0.9)] as const
  return [
    {
      what: 'wiring one connection, p50',
      value: p50,
      unit: 'ms',
      spread: spread(wired),
      target: { atMost: 0.9 },
    },
    {
      what: 'the RTM_NEWLINK of it alone, p50',
      value: quantile(bare, 0.5),
      unit: 'ms',
      spread: spread(bare),
    },
    {
      what: 'wiring against its RTM_NEWLINK',
      value: p50 / quantile(bare, 0.5),
      unit: '×',
      target: { atMost: 2.2 },
    },
    { what: 'the same by ip -batch, p50', value: quantile(batch, 0.5), unit: 'ms', spread: spread(batch) },
    {
      what: 'ip -batch against wiring',
      value: quantile(batch, 0.5) / p50,
      unit: '×',
      target: { atLeast: 10 },
    },
    {
      what: 'unwiring one connection, p50',
      value: quantile(unwired, 0.5),
      unit: 'ms',
      spread: spread(unwired),
    },
  ]
}

/** Links between pods of their own, all asked for at once; then all deleted at once. */
async function inBurst({ a }: Pods, count: number): Promise<Figure[]> {
  const others = await Promise.all(Array.from({ length: count }, () => native.createNetns()))
  try {
    const all = others.map((b, at) => ({ pods: { a, b }, name: `b${at}` }))
    const created = await timed(() => Promise.all(all.map(({ pods, name }) => wire(pods, name))))
    const deleted = await timed(() =>
      Promise.all(all.map(({ pods, name }) => native.deleteLinks(pods.b, [name]))),
    )
    return [
      {
        what: `wiring, ${count} at once`,
        value: (count / created) * 1000,
        unit: '/s',
        target: { atLeast: 1800 },
      },
      {
        what: `unwiring, ${count} namespaces at once`,
        value: (count / deleted) * 1000,
        unit: '/s',
        target: { atLeast: 250 },
      },
    ]
  } finally {
    others.forEach((fd) => native.close(fd))
  }
}

async function clumpGone(pods: Pods, count: number): Promise<Figure> {
  const names = Array.from({ length: count }, (_, at) => `c${at}`)
  for (const name of names) await createPair(pods, name)
  const ms = await timed(() => native.deleteLinks(pods.a, names))
  return { what: `${count} interfaces of one namespace gone`, value: ms, unit: 'ms', target: { atMost: 60 } }
}

/** How long the calls that a connection needs hold the event loop up; the kernel is waited for elsewhere. */
async function loopBlocked(pods: Pods, count: number): Promise<Figure> {
  const held: number[] = []
  const timedCall = async (call: () => Promise<unknown>): Promise<void> => {
    const start = performance.now()
    const answer = call()
    held.push(performance.now() - start)
    await answer
  }
  for (let round = 0; round < count; round++) {
    await timedCall(() => wire(pods, 'w'))
    await timedCall(() => native.read(pods.a, ['links', 'addresses', 'routes']))
    await timedCall(() => native.apply(pods.a, [{ op: 'link', name: 'w', up: false }]))
    await timedCall(() => native.deleteLinks(pods.a, ['w']))
  }
  return {
    what: 'event loop held up by one call, p99',
    value: quantile(held, 0.99),
    unit: 'ms',
    spread: [quantile(held, 0.5), quantile(held, 1)],
    target: { atMost: 1 },
  }
}

function wire({ a, b }: Pods, name: string): Promise<void> {
  return native.createVeth({
    a: { netnsFd: a, name, changes: side(name, 1, 2) },
    b: { netnsFd: b, name, changes: side(name, 2, 1) },
    mtu: 1500,
    group,
  })
}

function createPair({ a, b }: Pods, name: string): Promise<void> {
  return native.createVeth({ a: { netnsFd: a, name }, b: { netnsFd: b, name }, mtu: 1500, group })
}

/** An address, up, and two routes: what a connection of icmp-responder gets. */
function side(dev: string, own: number, peer: number): Change[] {
  return [
    { op: 'link', name: dev, up: true, alias: `nsm:bench:${own}` },
    { op: 'address', dev, prefix: `172.16.1.${own}/32` },
    { op: 'route', dev, prefix: `172.16.1.${peer}/32`, scope: 'link' },
    { op: 'route', dev, prefix: '10.0.0.0/8', gateway: `172.16.1.${peer}`, scope: 'global', onlink: true },
  ]
}

/** The same by three processes, as a script would: the pair, then each side. */
async function ipBatch({ a, b }: Pods): Promise<void> {
  const [atA, atB] = [a, b].map((fd) => `/proc/${process.pid}/fd/${fd}`)
  const pair = `link add i mtu 1500 numtxqueues 1 numrxqueues 1 type veth peer name i mtu 1500 numtxqueues 1 numrxqueues 1 netns ${atB}\n`
  await ip(atA, pair)
  await ip(atA, batchOf(1, 2))
  await ip(atB, batchOf(2, 1))
}

function batchOf(own: number, peer: number): string {
  return [
    'link set i up',
    `addr add 172.16.1.${own}/32 dev i`,
    `route add 172.16.1.${peer}/32 dev i`,
    `route add 10.0.0.0/8 via 172.16.1.${peer} dev i onlink`,
    '',
  ].join('\n')
}

async function ip(netns: string | undefined, batch: string): Promise<void> {
  const child = spawn('nsenter', [`--net=${netns}`, 'ip', '-batch', '-'], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  child.stdin.end(batch)
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`ip -batch ended with ${code}`)
}

async function timed(body: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await body()
  return performance.now() - start
}
