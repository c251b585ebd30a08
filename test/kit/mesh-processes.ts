import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { waitFor, type LocalMesh } from './local-mesh.ts'

/** Processes of one of our programs in a mesh, such as `nsmgr` or `sidecar`. */
export function pidsOf(mesh: Pick<LocalMesh, 'name'>, program: string): readonly number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  return lines
    .filter((line) => line.includes(`/${program}.cjs`) && !line.includes('nsm-run'))
    .map((line) => Number.parseInt(line, 10))
    .filter((pid) => fileOf(pid, 'mountinfo').includes(`/nsm/${mesh.name}/`))
}

/** The only process of a program. */
export function pidOf(mesh: Pick<LocalMesh, 'name'>, program: string): number {
  const [pid, ...more] = pidsOf(mesh, program)
  if (pid === undefined || more.length > 0)
    throw new Error(`${program} runs ${pid === undefined ? 'not' : 'more than once'}`)
  return pid
}

/** Text of a file of the process; empty when it is gone. */
export function fileOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}

/** What the descriptors of a process are, by kind: `socket`, `net`, `anon_inode:[eventpoll]`, paths. */
export function descriptorsOf(pid: number): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let kind: string
    try {
      kind = readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, '')
    } catch {
      continue
    }
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** Megabytes of the process' memory. */
export function residentMegabytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(fileOf(pid, 'status'))?.[1] ?? 0) / 1024
}

/** A line of `nsm status` for each part: how often it was started again. */
export async function restartsOf(mesh: LocalMesh, part: string): Promise<number> {
  const { stdout } = await mesh.nsm(['status'])
  const [, restarts] = new RegExp(`^${part}\\S* +\\S+ +yes +running +(\\d+)`, 'm').exec(stdout) ?? []
  return restarts === undefined ? -1 : Number(restarts)
}

/** One connection as its sidecar tells it. */
export interface ConnectionRow {
  readonly id: string
  readonly state: string
  readonly reason: string
  readonly message: string
  readonly endpoint: string
  readonly interface: string
  readonly addresses: readonly string[]
  readonly endpointAddresses: readonly string[]
  readonly requests: { readonly succeeded: number; readonly failed: number }
  readonly heals: { readonly count: number }
  readonly path: readonly { readonly name: string; readonly id: string }[]
}

/** Connections of a pod. Rejects while its sidecar cannot be asked. */
export async function connectionsOf(
  mesh: LocalMesh,
  namespace: string,
  pod: string,
): Promise<readonly ConnectionRow[]> {
  const { stdout, stderr } = await mesh.nsm(['status', '-n', namespace, pod, '-o', 'json'])
  type Answer = readonly { readonly status?: { readonly connections: readonly ConnectionRow[] } }[]
  const [answer] = JSON.parse(stdout || '[]') as Answer
  if (answer?.status === undefined) throw new Error(`${pod} tells no status: ${stdout}${stderr}`)
  return answer.status.connections
}

/** Waits until the pod's only connection is as wanted; answers it. */
export async function connectionOf(
  mesh: LocalMesh,
  [namespace, pod]: readonly [namespace: string, pod: string],
  wanted: (row: ConnectionRow) => boolean = ({ state }) => state === 'UP',
): Promise<ConnectionRow> {
  return waitFor(`the connection of ${pod}`, async () => {
    try {
      const [row] = await connectionsOf(mesh, namespace, pod)
      return row !== undefined && wanted(row) ? row : new Error(JSON.stringify(row))
    } catch (err) {
      return err instanceof Error ? err : new Error(String(err))
    }
  })
}

/** Interfaces of connections in a pod, as `<index> <name>`, in order. */
export async function interfacesIn(
  mesh: LocalMesh,
  namespace: string,
  pod: string,
): Promise<readonly string[]> {
  const text = await mesh.inPod(namespace, pod, 'ip -o link show')
  return text
    .split('\n')
    .map((line) => /^(\d+): ([^:@]+)/.exec(line))
    .map((match) => `${match?.[1]} ${match?.[2]}`)
    .filter((one) => !/ (lo|eth0)$/.test(one))
    .toSorted()
}

/** Everything that a pod's network has beside `lo` and `eth0`: links, addresses, routes, rules, neighbours. */
export async function extrasIn(mesh: LocalMesh, namespace: string, pod: string): Promise<string> {
  const line = [
    "ip -o addr show | grep -v ': lo\\|: eth0' || true",
    "ip -o link show | grep -v ': lo\\|: eth0' || true",
    "ip route show table all | grep -v 'dev lo\\|dev eth0' || true",
    "ip -6 route show table all | grep -v 'dev lo\\|dev eth0' || true",
    "ip neigh show | grep -v 'dev eth0' | sed 's/ [A-Z]* *$//' || true",
    "ip rule show | grep -v 'lookup \\(local\\|main\\|default\\)' || true",
  ].join('; ')
  return mesh.inPod(namespace, pod, line)
}

/** Where a part serves its metrics, as pods of the first node reach it. */
const opsOf = { nsmgr: '10.199.0.11:9101', forwarder: '10.199.0.11:9102', registry: '10.199.0.1:9103' }

/** A metric's samples, as `labels` → value, asked from inside a pod. */
export async function metricOf(
  mesh: LocalMesh,
  [namespace, pod]: readonly [namespace: string, pod: string],
  where: keyof typeof opsOf | { readonly address: string },
  metric: string,
): Promise<Readonly<Record<string, number>>> {
  const address = typeof where === 'string' ? opsOf[where] : where.address
  const script = `fetch('http://${address}/metrics').then((r) => r.text()).then(console.log)`
  const text = await mesh.inPod(namespace, pod, `${process.execPath} -e "${script}"`)
  const found = text
    .split('\n')
    .map((line) => /^([a-z_]+)(?:\{([^}]*)\})? (\S+)$/.exec(line))
    .flatMap((match) => (match?.[1] === metric ? [[match[2] ?? '', Number(match[3])] as const] : []))
  return Object.fromEntries(found)
}

/** Process 1 of a pod: with it everything in the pod dies, its network too. */
export function sandboxOf(mesh: LocalMesh, pod: string): number {
  const holders = JSON.parse(readFileSync(`/run/nsm/${mesh.name}/sandboxes.json`, 'utf8')) as readonly {
    readonly pid: number
  }[]
  const found = holders.find(({ pid }) => fileOf(pid, 'cmdline').split('\0').includes(pod))
  if (found === undefined) throw new Error(`pod ${pod} has no sandbox`)
  return found.pid
}
