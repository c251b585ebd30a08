import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { silent } from '@nsm/sdk/log.js'
import type { Test } from 'tap'
import { connectCluster, type ClusterEvent } from './harness/cluster.ts'
import { partImage } from './harness/part-image.ts'
import { waitFor } from './harness/wait-for.ts'

/** A namespace with an agent of its own on one node, beside whatever is installed there. */
export interface AgentWorld {
  readonly client: ApiClient
  readonly namespace: string
  readonly node: string
  /** Starts a pod on the node and answers it as soon as it runs. */
  run(name: string, spec: PodSpec): Promise<RunningPod>
  /** Starts the agent, and waits until it gives identities. */
  startAgent(): Promise<RunningPod>
  /** What the first container of a pod has logged. */
  log(name: string): Promise<string>
  /** Removes it, and waits until it is gone. */
  remove(name: string): Promise<void>
  /** Removes the object, whatever becomes of its processes. */
  forget(name: string): Promise<void>
  events(name: string): Promise<readonly ClusterEvent[]>
}

/** What differs between two pods: one container, with the sockets of the agent. */
export interface PodSpec {
  readonly image: string
  readonly env?: Readonly<Record<string, string>>
  readonly fields?: Readonly<Record<string, unknown>>
}

export interface RunningPod {
  readonly uid: string
  /** Its cgroup on this machine, below the unified hierarchy. */
  readonly cgroup: string
}

/** A folder that each node of the harness has for itself. */
export const socketFolder: string = `/run/spire/agent-test-${process.pid}`
const socket = `${socketFolder}/agent.sock`

/** On the cluster that NSM_CLUSTER names. All of it goes with the test. */
export async function agentWorld(t: Test): Promise<AgentWorld> {
  const cluster = await connectCluster()
  const node = cluster.nodes[0].name
  const { kubeconfig } = cluster
  const client = await openApiClient({ kubeconfig, userAgent: 'nsm-test/1', qps: 100, log: silent })
  t.teardown(() => client.close())
  const namespace = `agent-test-${process.pid}`
  await makeRights(t, client, namespace)
  // Pods are refused until the namespace's account is there.
  await waitFor('the default account', async () =>
    client.get(`/api/v1/namespaces/${namespace}/serviceaccounts/default`),
  )
  const pods = `/api/v1/namespaces/${namespace}/pods`

  const world: AgentWorld = {
    client,
    namespace,
    node,
    async run(name, spec) {
      await client.create(pods, podOf({ name, node, ...spec }))
      const running = await waitFor(`${name} runs`, async () => {
        const pod = await client.get<KubernetesObject & { status?: { phase?: string } }>(`${pods}/${name}`)
        return pod.status?.phase === 'Running' && pod
      })
      const { uid = '' } = running.metadata
      return { uid, cgroup: await waitFor(`the cgroup of ${name}`, () => cgroupOf(uid)) }
    },
    async startAgent() {
      const agent = await world.run('agent', agentSpec(namespace, node))
      await waitFor('identities are given', async () =>
        (await world.log('agent')).includes('identities are given'),
      )
      return agent
    },
    async log(name) {
      const chunks = await client.stream(`${pods}/${name}/log`)
      return (await chunks.toArray()).join('')
    },
    async remove(name) {
      await client.delete(`${pods}/${name}`)
      await waitFor(`${name} is gone`, async () => isGone(client, `${pods}/${name}`))
    },
    async forget(name) {
      await cluster.kubectl(['-n', namespace, 'delete', 'pod', name, '--force', '--grace-period=0'])
    },
    events: async (name) => cluster.events(namespace, name),
  }
  return world
}

/** The images of this build. */
export const images: Readonly<Record<'agent' | 'registry' | 'sidecar', string>> = {
  agent: partImage('agent'),
  registry: partImage('registry'),
  sidecar: partImage('sidecar'),
}

/** Rights as the chart gives them, and the empty Secret. */
async function makeRights(t: Test, client: ApiClient, namespace: string): Promise<void> {
  const rbac = '/apis/rbac.authorization.k8s.io/v1'
  const metadata = { name: namespace }
  const subjects = [{ kind: 'ServiceAccount', name: 'default', namespace }]
  const role = (kind: string): unknown => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: namespace })
  const make = async (path: string, object: object): Promise<void> => {
    await client.create(path, object as KubernetesObject)
    t.teardown(async () => client.delete(`${path}/${namespace}`))
  }
  await make('/api/v1/namespaces', { metadata })
  await make(`${rbac}/clusterroles`, {
    metadata,
    rules: [
      { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
      { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
    ],
  })
  await make(`${rbac}/clusterrolebindings`, { metadata, subjects, roleRef: role('ClusterRole') })
  const inNamespace = `${rbac}/namespaces/${namespace}`
  const rules = [
    {
      apiGroups: [''],
      resources: ['secrets'],
      resourceNames: ['nsm-authority'],
      verbs: ['get', 'list', 'watch', 'update'],
    },
  ]
  await client.create(`${inNamespace}/roles`, { metadata, rules })
  await client.create(`${inNamespace}/rolebindings`, {
    metadata,
    subjects,
    roleRef: role('Role'),
  })
  await client.create(`/api/v1/namespaces/${namespace}/secrets`, { metadata: { name: 'nsm-authority' } })
}

function agentSpec(namespace: string, node: string): PodSpec {
  return {
    image: images.agent,
    env: {
      NODE_NAME: node,
      POD_NAMESPACE: namespace,
      NSM_IDENTITY_SOCKET: socket,
      NSM_CSI: 'false',
      NSM_OPS_LISTEN_ON: 'off',
    },
    fields: { hostPID: true, hostNetwork: true, automountServiceAccountToken: true },
  }
}

function podOf({
  name,
  node,
  image,
  env = {},
  fields = {},
}: PodSpec & { name: string; node: string }): KubernetesObject {
  const isAgent = fields['hostPID'] === true
  const security = isAgent
    ? { runAsUser: 0, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true }
    : { runAsUser: 65_532, runAsNonRoot: true, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true }
  const all = { SPIFFE_ENDPOINT_SOCKET: `unix://${socket}`, ...env }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName: node,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 5,
      containers: [
        {
          name: 'main',
          image,
          imagePullPolicy: 'Never',
          env: Object.entries(all).map(([variable, value]) => ({ name: variable, value })),
          securityContext: { allowPrivilegeEscalation: false, ...security },
          volumeMounts: [{ name: 'sockets', mountPath: socketFolder }],
        },
      ],
      volumes: [{ name: 'sockets', hostPath: { path: socketFolder, type: 'DirectoryOrCreate' } }],
      ...fields,
    },
  }
}

async function isGone(client: ApiClient, path: string): Promise<boolean> {
  return client.get(path).then(
    () => false,
    (err: { code?: string }) => err.code === 'NOT_FOUND',
  )
}

/** Where this machine has the cgroup of a pod. */
function cgroupOf(uid: string): string | undefined {
  const unified = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, , type]) => type === 'cgroup2')?.[1]
  const found = readdirSync(unified ?? '', { recursive: true, encoding: 'utf8' }).find((path) =>
    path.endsWith(`/pod${uid}`),
  )
  return found === undefined ? undefined : join(unified ?? '', found)
}

/** A process of the node that asks for its identity. */
export interface Asker {
  /** What it has said so far. */
  readonly lines: readonly Readonly<Record<string, string>>[]
  end(): void
}

/** Starts it; with `cgroup` as a process of that pod. It reaches the socket by way of the agent's own root. */
export function ask(t: Test, agent: RunningPod, cgroup?: string): Asker {
  const pid = pidsIn(agent.cgroup).find((one) => existsSync(`/proc/${one}/root${socket}`))
  const program = fileURLToPath(new URL('../agent/identity/workload.js', import.meta.url))
  const group = cgroup === undefined ? undefined : containerIn(cgroup)
  // A node of the harness numbers its processes itself: what runs outside of it has no number that its agent could know.
  const enter = ['nsenter', `--pid=/proc/${pid}/ns/pid`, process.execPath, program]
  const script = group === undefined ? 'exec "$@"' : 'echo $$ > "$0/cgroup.procs" && exec "$@"'
  const child = spawn('sh', ['-c', script, group ?? 'sh', ...enter], {
    env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix:///proc/${pid}/root${socket}` },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  const end = (): void => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), 'SIGKILL')
  }
  t.teardown(end)
  const lines: Record<string, string>[] = []
  createInterface({ input: child.stdout }).on('line', (line) =>
    lines.push(JSON.parse(line) as Record<string, string>),
  )
  return { lines, end }
}

function pidsIn(cgroup: string): readonly string[] {
  return readdirSync(cgroup, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('/cgroup.procs'))
    .flatMap((path) =>
      readFileSync(join(cgroup, path), 'utf8')
        .split('\n')
        .filter((line) => line !== ''),
    )
}

/** The group of one of its containers. */
function containerIn(cgroup: string): string {
  const container = readdirSync(cgroup, { withFileTypes: true }).find((entry) => entry.isDirectory())
  return join(cgroup, container?.name ?? '')
}
