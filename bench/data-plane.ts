import { fileURLToPath } from 'node:url'
import { output, type BenchMesh } from './bench-mesh.ts'
import { quantile, type Figure } from './figure.ts'

interface Path {
  readonly netns: readonly [string, string]
  readonly address: readonly [string, string]
}

const modes = [
  { mode: 'tcp', what: 'throughput on one core', target: { atLeast: 0.97 } },
  { mode: 'tcp-rr', what: '64-byte TCP round trip', target: { atMost: 1.05 } },
  { mode: 'udp-rr', what: '64-byte UDP round trip', target: { atMost: 1.05 } },
] as const

const program = fileURLToPath(
  new URL('../../forwarder-native/native/target/release/nsm-pathcost', import.meta.url),
)

/** The path of a connection against a veth pair made by hand, round by round in turn; figures are ratios of the two. */
export async function dataPlane(mesh: BenchMesh, quick: boolean): Promise<Figure[]> {
  const ours = await connectionPath(mesh)
  const bare = await barePath()
  try {
    const figures: Figure[] = []
    for (const { mode, what, target } of modes) {
      const ratios: number[] = []
      for (let round = 0; round < (quick ? 1 : 11); round += 1) {
        // Which goes first changes each time, so that a drift of the machine hits both.
        const first = await cost(mode, round % 2 === 0 ? ours : bare, quick)
        const second = await cost(mode, round % 2 === 0 ? bare : ours, quick)
        const [own, other] = round % 2 === 0 ? [first, second] : [second, first]
        ratios.push(mode === 'tcp' ? other / own : own / other)
      }
      figures.push({
        what: `same node, ${what}, against a bare veth pair`,
        value: quantile(ratios, 0.5),
        unit: '×',
        spread: [quantile(ratios, 0.1), quantile(ratios, 0.9)],
        target,
      })
    }
    return figures
  } finally {
    await bare.close()
  }
}

/** CPU nanoseconds for each byte (`tcp`) or round trip. */
async function cost(mode: string, { netns, address }: Path, quick: boolean): Promise<number> {
  const args = [mode, netns[0], address[0], netns[1], address[1], quick ? '50' : '400']
  const { operations, bytes, cpuNs } = JSON.parse(await output(program, args)) as Record<string, number>
  return (cpuNs ?? 0) / ((mode === 'tcp' ? bytes : operations) ?? 1)
}

async function connectionPath(mesh: BenchMesh): Promise<Path> {
  const { connections } = JSON.parse(await mesh.nsm(['status', '-o', 'json'])) as {
    connections: {
      pod: string
      status: { connections: { endpoint: string; addresses: string[]; endpointAddresses: string[] }[] }
    }[]
  }
  const [client] = connections
  const [connection] = client?.status.connections ?? []
  if (client === undefined || connection === undefined) throw new Error('the mesh has no connection')
  const plain = (prefixes: readonly string[]): string => (prefixes[0] ?? '').replace(/\/.*/, '')
  return {
    netns: [await mesh.netnsOf(client.pod), await mesh.netnsOf(connection.endpoint)],
    address: [plain(connection.addresses), plain(connection.endpointAddresses)],
  }
}

/** A veth pair as `ip link add` makes it, between two namespaces of its own, with the connection's MTU. */
async function barePath(): Promise<Path & { close(): Promise<void> }> {
  const names = [`nsm-bench-${process.pid}-a`, `nsm-bench-${process.pid}-b`] as const
  const ip = (...args: string[]): Promise<string> => output('ip', args)
  const close = async (): Promise<void> => {
    for (const name of names) await ip('netns', 'delete', name).catch(() => undefined)
  }
  try {
    for (const name of names) await ip('netns', 'add', name)
    const peer = ['peer', 'name', 'bare', 'netns', names[1], 'mtu', '9000']
    await ip('link', 'add', 'bare', 'netns', names[0], 'mtu', '9000', 'type', 'veth', ...peer)
    for (const [i, name] of names.entries()) {
      await ip('-n', name, 'address', 'add', `172.31.255.${i + 1}/30`, 'dev', 'bare')
      await ip('-n', name, 'link', 'set', 'bare', 'up')
    }
  } catch (err) {
    await close()
    throw err
  }
  return {
    netns: [`/run/netns/${names[0]}`, `/run/netns/${names[1]}`],
    address: ['172.31.255.1', '172.31.255.2'],
    close,
  }
}
