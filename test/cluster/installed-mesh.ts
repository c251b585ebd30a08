import path from 'node:path'
import type { Test } from 'tap'
import { connectCluster, type Cluster } from './harness/cluster.ts'
import { partImage } from './harness/part-image.ts'
import { checkout } from './harness/tools.ts'
import { waitFor } from './harness/wait-for.ts'

/** The release's namespace. */
export const system = 'nsm-system'
const chart = path.join(checkout, 'charts/nsm')

/** Installs the chart, or brings the release to these values; resolves when every part is ready. */
export async function install(cluster: Cluster, ...values: readonly string[]): Promise<void> {
  const sets = values.flatMap((value) => ['--set', value])
  await cluster.helm([
    ...['upgrade', '--install', 'nsm', chart, '--namespace', system, '--create-namespace'],
    // Without a value Helm would keep those of before.
    ...['--reset-values', '--wait', '--timeout', '5m', ...sets],
  ])
}

/** The cluster, with the mesh as the chart's defaults have it. */
export async function installedMesh(): Promise<Cluster> {
  const cluster = await connectCluster()
  const releases = JSON.parse(
    await cluster.helm(['list', '--namespace', system, '--output', 'json']),
  ) as unknown[]
  if (releases.length === 0) await install(cluster)
  return cluster
}

export interface NamespaceOptions {
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** A namespace of its own for the test, gone with it. */
export async function testNamespace(
  t: Test,
  cluster: Cluster,
  name: string,
  { labels = {}, annotations = {} }: NamespaceOptions = {},
): Promise<void> {
  t.teardown(async () => {
    await cluster.kubectl(['delete', 'namespace', name, '--ignore-not-found', '--timeout=180s'])
  })
  await cluster.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels, annotations } }])
  // Pods are refused until the namespace's account is there.
  await waitFor('the default account', async () =>
    cluster.kubectl(['get', 'serviceaccount', 'default', '-n', name]),
  )
}

/** Containers that do nothing, and those that run a script; every image of ours has Node.js. */
export const image: string = partImage('nsm')
export const sleep: readonly string[] = [
  '/nsm/node',
  '-e',
  `process.once('SIGTERM', () => process.exit()); setInterval(() => 0, 1e9)`,
]
export const restricted: Readonly<Record<string, unknown>> = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
}

const sockets = [
  ['spire-agent-socket', '/run/spire/sockets', 'csi.spiffe.io'],
  ['nsm-socket', '/var/lib/networkservicemesh', 'csi.networkservicemesh.io'],
] as const

export interface EndpointOptions {
  readonly namespace: string
  readonly service: string
  /** Each client gets two addresses of it: the endpoint's, which is the first, and its own. */
  readonly cidr: string
  readonly node?: string
  /** More containers beside the endpoint's. */
  readonly containers?: readonly object[]
  readonly env?: Readonly<Record<string, string>>
  /** Added to the pod's spec. */
  readonly spec?: Readonly<Record<string, unknown>>
}

/** A Network Service, and a Deployment that serves it. */
export function endpoint(options: EndpointOptions): readonly object[] {
  const { namespace, service, cidr, node, containers = [] } = options
  const labels = { app: service }
  const field = (name: string, fieldPath: string): object => ({
    name,
    valueFrom: { fieldRef: { fieldPath } },
  })
  const main = {
    name: 'endpoint',
    image: partImage('icmp-responder'),
    env: [
      { name: 'SPIFFE_ENDPOINT_SOCKET', value: 'unix:///run/spire/sockets/agent.sock' },
      field('NSM_NAME', 'metadata.name'),
      field('POD_NAME', 'metadata.name'),
      field('NODE_NAME', 'spec.nodeName'),
      { name: 'NSM_SERVICE_NAMES', value: service },
      { name: 'NSM_REGISTER_SERVICE', value: 'false' },
      { name: 'NSM_CIDR_PREFIX', value: cidr },
      ...Object.entries(options.env ?? {}).map(([name, value]) => ({ name, value })),
    ],
    securityContext: restricted,
    volumeMounts: [
      ...sockets.map(([name, mountPath]) => ({ name, mountPath, readOnly: true })),
      { name: 'tmp', mountPath: '/tmp' },
    ],
  }
  const template = {
    metadata: { labels },
    spec: {
      terminationGracePeriodSeconds: 2,
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
      containers: [main, ...containers],
      volumes: [
        ...sockets.map(([name, , driver]) => ({ name, csi: { driver, readOnly: true } })),
        { name: 'tmp', emptyDir: {} },
      ],
      ...options.spec,
    },
  }
  return [
    {
      apiVersion: 'networkservicemesh.io/v1',
      kind: 'NetworkService',
      metadata: { name: service, namespace },
      spec: { payload: 'ETHERNET' },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: service, namespace },
      spec: { replicas: 1, selector: { matchLabels: labels }, template },
    },
  ]
}

export interface PodOptions {
  readonly namespace: string
  readonly name: string
  /** Value of the annotation; absent = none. */
  readonly services?: string
  readonly node?: string
  readonly metadata?: Readonly<Record<string, unknown>>
  readonly spec?: Readonly<Record<string, unknown>>
  readonly container?: Readonly<Record<string, unknown>>
}

/** A pod as an application developer writes it. */
export function pod({ namespace, name, services, node, metadata, spec, container }: PodOptions): object {
  const annotations = services === undefined ? {} : { annotations: { 'networkservicemesh.io': services } }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, ...annotations, ...metadata },
    spec: podSpec(node, spec, container),
  }
}

/** The spec of such a pod, for templates of workloads. */
export function podSpec(
  node?: string,
  spec: Readonly<Record<string, unknown>> = {},
  container: Readonly<Record<string, unknown>> = {},
): object {
  return {
    terminationGracePeriodSeconds: 1,
    ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
    containers: [{ name: 'app', image, command: sleep, securityContext: restricted, ...container }],
    ...spec,
  }
}

/** Pings the other end of an interface from a pod of `image`, three times. @throws when nothing answers. */
export async function ping(
  cluster: Cluster,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  via = 'nsm-1',
): Promise<string> {
  const nsm = ['/nsm/node', '/nsm/start.cjs', '/nsm/nsm.cjs']
  return cluster.exec({ namespace, name, container: 'app' }, [...nsm, 'ping', '-I', via, '-c', '3'])
}

/** Names of a pod's containers: init containers first. */
export async function containersOf(
  cluster: Cluster,
  namespace: string,
  name: string,
): Promise<readonly string[]> {
  const { spec } = await cluster.json<{
    spec: { initContainers?: { name: string }[]; containers: { name: string }[] }
  }>(['get', 'pod', name, '-n', namespace])
  return [...(spec.initContainers ?? []), ...spec.containers].map((container) => container.name)
}
