import { fileURLToPath } from 'node:url'
import { readFile } from 'node:fs/promises'
import { benchMesh, built, type BenchMesh } from './bench-mesh.ts'
import { dataPlane } from './data-plane.ts'
import { quantile, type Figure, type Section } from './figure.ts'

/** Whole stack as processes of a local mesh: latencies, what connections cost in memory, and the path that they make. */
export const stack: Section = async ({ quick }) => {
  const mesh = await benchMesh(yaml)
  try {
    await mesh.ready(3)
    const idle = await memory(mesh, 'idle with one connection')
    const starts = await inPod(mesh, 'starts', quick ? 1 : 15, built('sidecar.cjs'))
    const warm = await inPod(mesh, 'requests', quick ? 3 : 200)
    const latencies: Figure[] = [
      {
        what: 'sidecar exec → interface with its address, p50',
        value: quantile(starts, 0.5),
        unit: 'ms',
        spread: [quantile(starts, 0), quantile(starts, 1)],
        target: { atMost: 200 },
      },
      {
        what: 'warm Request → interface with its address, p50',
        value: quantile(warm, 0.5),
        unit: 'ms',
        spread: [quantile(warm, 0.1), quantile(warm, 0.9)],
        target: { atMost: 15 },
      },
      {
        what: 'warm Request → interface with its address, p99',
        value: quantile(warm, 0.99),
        unit: 'ms',
        target: { atMost: 40 },
      },
    ]
    const path = await dataPlane(mesh, quick)
    // What came before is part of the thousand.
    await inPod(mesh, 'requests', quick ? 3 : 800)
    const used = await memory(mesh, `after ${quick ? 6 : 1_000} connect and close`)
    return [...latencies, ...path, ...idle, ...used]
  } finally {
    await mesh.close()
  }
}

async function inPod(mesh: BenchMesh, mode: string, count: number, ...more: string[]): Promise<number[]> {
  const program = fileURLToPath(new URL('pod-client.js', import.meta.url))
  const command = [process.execPath, program, mode, String(count), ...more]
  return JSON.parse(await mesh.nsm(['exec', 'bencher', '--', ...command])) as number[]
}

const parts = [
  { bundle: 'registry.cjs', name: 'registry', most: 60 },
  { bundle: 'nsmgr.cjs', name: 'nsmgr', most: 60 },
  { bundle: 'forwarder.cjs', name: 'forwarder', most: 60 },
  { bundle: 'icmp-responder.cjs', name: 'endpoint' },
  { bundle: 'sidecar.cjs', name: 'sidecar' },
]

async function memory(mesh: BenchMesh, when: string): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const { bundle, name, most } of parts) {
    const [pid] = await mesh.pidsOf(bundle)
    if (pid === undefined) throw new Error(`no process runs ${bundle}`)
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
    const figure = { unit: 'MB' } as const
    figures.push(
      {
        ...figure,
        what: `${name} RSS, ${when}`,
        value: megabytes(status, 'VmRSS'),
        ...(most === undefined ? {} : { target: { atMost: most } }),
      },
      {
        ...figure,
        what: `${name} unshared, ${when}`,
        value: megabytes(status, 'RssAnon'),
        ...(name === 'sidecar' ? { target: { atMost: 13 } } : {}),
      },
      { ...figure, what: `${name} PSS, ${when}`, value: megabytes(rollup, 'Pss') },
    )
  }
  return figures
}

function megabytes(text: string, name: string): number {
  const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]
  if (kilobytes === undefined) throw new Error(`${name} is not told`)
  return Number(kilobytes) / 1024
}

const volumes = JSON.stringify([
  { name: 'spire-agent-socket', csi: { driver: 'csi.spiffe.io', readOnly: true } },
  { name: 'nsm-socket', csi: { driver: 'csi.networkservicemesh.io', readOnly: true } },
])
const mounts = JSON.stringify([
  { name: 'spire-agent-socket', mountPath: '/run/spire/sockets', readOnly: true },
  { name: 'nsm-socket', mountPath: '/var/lib/networkservicemesh', readOnly: true },
])

const yaml = `
apiVersion: networkservicemesh.io/v1
kind: NetworkService
metadata: { name: bench }
spec: { payload: ETHERNET }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: endpoint }
spec:
  selector: { matchLabels: { app: endpoint } }
  template:
    metadata: { labels: { app: endpoint } }
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: endpoint
          image: icmp-responder
          env:
            - { name: SPIFFE_ENDPOINT_SOCKET, value: 'unix:///run/spire/sockets/agent.sock' }
            - { name: NSM_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
            - { name: NSM_SERVICE_NAMES, value: bench }
            - { name: NSM_REGISTER_SERVICE, value: 'false' }
            - { name: NSM_CIDR_PREFIX, value: 172.16.0.0/20 }
          volumeMounts: ${mounts}
      volumes: ${volumes}
---
apiVersion: v1
kind: Pod
metadata:
  name: client
  annotations: { networkservicemesh.io: kernel://bench/nsm-1 }
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - { name: app, command: [sleep, infinity] }
---
apiVersion: v1
kind: Pod
metadata: { name: bencher }
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - name: app
      command: [sleep, infinity]
      volumeMounts: ${mounts}
  volumes: ${volumes}
`
