import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { quantile, type Figure, type Section } from './figure.ts'

const program = fileURLToPath(new URL('dns-process.js', import.meta.url))
const upstreams = ['198.18.0.1', '198.18.0.2', '198.18.0.3', '198.18.0.4']
/** Takes questions and never answers. */
const dead = '198.18.1.1'
const direct = '198.18.0.1'
const cases = [
  { what: '1 server', at: '198.18.2.1', servers: [direct] },
  { what: '4 servers', at: '198.18.2.2', servers: upstreams },
  { what: '4 servers, one of them dead', at: '198.18.2.3', servers: [dead, ...upstreams.slice(0, 3)] },
] as const

/** The sidecar's resolver against asking its server directly, by dnsperf, in a network namespace of its own. */
export const dns: Section = async ({ quick }) => {
  const folder = await mkdtemp(join(tmpdir(), 'bench-dns-'))
  const children: ChildProcess[] = []
  try {
    const names = join(folder, 'names')
    const lines = Array.from({ length: 1_000 }, (_, i) => `n${i}.bench.test A`)
    await writeFile(names, `${lines.join('\n')}\n`)
    const holder = await holdNetns(children)
    const inside = (...argv: readonly string[]): ChildProcess =>
      spawn('nsenter', ['--target', String(holder.pid), '--net', ...argv], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
    const start = async (...args: readonly string[]): Promise<void> => {
      const child = inside(process.execPath, program, ...args)
      children.push(child)
      await once(child.stdout ?? child, 'data')
    }
    await start('upstream', ...upstreams)
    await start('silent', dead)
    for (const { at, servers } of cases) await start('embedded', at, ...servers)
    const measure = async (at: string, ...more: readonly string[]): Promise<string> =>
      textOf(inside('dnsperf', '-s', at, '-d', names, '-l', quick ? '1' : '5', ...more))
    return await figures(measure)
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
}

async function figures(
  measure: (at: string, ...more: readonly string[]) => Promise<string>,
): Promise<Figure[]> {
  const busy = async (at: string): Promise<number> => rateIn(await measure(at, '-q', '100'))
  const calm = async (at: string): Promise<readonly number[]> => timesIn(await measure(at, '-v', '-Q', '500'))
  await busy(direct)
  const directRate = await busy(direct)
  const directTimes = await calm(direct)
  const found: Figure[] = [
    { what: 'asked directly, rate', value: directRate, unit: '/s' },
    { what: 'asked directly, time p50', value: quantile(directTimes, 0.5), unit: 'ms' },
    { what: 'asked directly, time p99', value: quantile(directTimes, 0.99), unit: 'ms' },
  ]
  for (const { what, at } of cases) {
    await busy(at)
    const rate = await busy(at)
    const times = await calm(at)
    const added = (share: number): number => quantile(times, share) - quantile(directTimes, share)
    found.push(
      { what: `resolver, ${what}, rate`, value: rate, unit: '/s' },
      { what: `resolver, ${what}, rate against direct`, value: rate / directRate, unit: '×' },
      { what: `resolver, ${what}, added p50`, value: added(0.5), unit: 'ms' },
      { what: `resolver, ${what}, added p99`, value: added(0.99), unit: 'ms' },
    )
  }
  return found
}

/** A process that keeps a network namespace with the addresses of the bench. */
async function holdNetns(children: ChildProcess[]): Promise<ChildProcess> {
  const all = [...upstreams, dead, ...cases.map(({ at }) => at)]
  const setUp = [
    'ip link set lo up',
    ...all.map((address) => `ip address add ${address}/32 dev lo`),
    'echo ready',
    'exec sleep 600',
  ]
  const holder = spawn('unshare', ['--net', 'sh', '-c', setUp.join(' && ')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(holder)
  await once(holder.stdout, 'data')
  return holder
}

async function textOf(child: ChildProcess): Promise<string> {
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await once(child, 'close')
  return text
}

function rateIn(text: string): number {
  return Number(/Queries per second: +([\d.]+)/.exec(text)?.[1] ?? Number.NaN)
}

/** Round trips in ms, from the lines that `-v` prints for each answer. */
function timesIn(text: string): readonly number[] {
  return [...text.matchAll(/^> NOERROR \S+ A ([\d.]+)$/gm)].map(([, seconds]) => Number(seconds) * 1_000)
}
