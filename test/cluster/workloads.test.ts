import t from 'tap'
import { CommandError } from './harness/command.ts'
import { waitFor } from './harness/wait-for.ts'
import {
  containersOf,
  endpoint,
  image,
  installedMesh,
  ping,
  pod,
  podSpec,
  restricted,
  testNamespace,
} from './installed-mesh.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes
const namespace = 'workloads'
const services = 'kernel://work/nsm-1'
const annotations = { 'networkservicemesh.io': services }
const labels = { app: 'client' }
const template = { metadata: { labels, annotations }, spec: podSpec(node.name) }

await testNamespace(t, cluster, namespace)
await cluster.apply(endpoint({ namespace, service: 'work', cidr: '172.20.0.0/24', node: node.name }))
await cluster.wait(['deployment/work', '-n', namespace], 'condition=Available')

/** Names of the pods of a workload, once as many are Ready. */
async function readyPods(selector: string, count: number): Promise<readonly string[]> {
  return waitFor(`${count} ready pods of ${selector}`, async () => {
    const { items } = await cluster.json<{
      items: { metadata: { name: string }; status: { conditions?: { type: string; status: string }[] } }[]
    }>(['get', 'pods', '-n', namespace, '-l', selector])
    const ready = items.filter(({ status }) =>
      (status.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True'),
    )
    return ready.length === count ? ready.map(({ metadata }) => metadata.name) : undefined
  })
}

t.test('pods without a wish are left alone, in every kind of namespace', async (t) => {
  await cluster.apply([pod({ namespace, name: 'plain' })])
  await cluster.wait(['pod', 'plain', '-n', namespace], 'condition=Ready')
  t.same(await containersOf(cluster, namespace, 'plain'), ['app'])
})

t.test('the annotation on a pod', async (t) => {
  await cluster.apply([pod({ namespace, name: 'annotated', services, node: node.name })])
  await cluster.wait(['pod', 'annotated', '-n', namespace], 'condition=Ready')
  t.same(await containersOf(cluster, namespace, 'annotated'), ['sidecar', 'app'])
  t.match(await ping(cluster, { namespace, name: 'annotated' }), /3 of 3 answered/)

  await cluster.apply([pod({ namespace, name: 'annotated', services, node: node.name })])
  t.same(
    await containersOf(cluster, namespace, 'annotated'),
    ['sidecar', 'app'],
    'applied again as it was written',
  )
  const edited = await cluster.json<{ metadata: { labels?: object; managedFields?: unknown } }>([
    ...['get', 'pod', 'annotated', '-n', namespace],
  ])
  edited.metadata.labels = { ...edited.metadata.labels, edited: 'yes' }
  delete edited.metadata.managedFields
  await cluster.apply([edited])
  t.same(await containersOf(cluster, namespace, 'annotated'), ['sidecar', 'app'], 'edited and applied again')
  t.match(await ping(cluster, { namespace, name: 'annotated' }), /3 of 3 answered/)
})

t.test('the annotation on a namespace, and pods that opt out of it', async (t) => {
  const annotated = 'workloads-annotated'
  await testNamespace(t, cluster, annotated, {
    annotations: { 'networkservicemesh.io': `${services}?of=namespace` },
  })
  const optOut = { 'networkservicemesh.io/inject': 'disabled' }
  const mine = { namespace: annotated, node: node.name }
  // The webhook hears of namespaces by a watch: what it does not know yet it waits for.
  await cluster.apply([
    pod({ ...mine, name: 'asked' }),
    pod({ ...mine, name: 'by-annotation', metadata: { annotations: optOut } }),
    pod({ ...mine, name: 'by-label', metadata: { labels: optOut } }),
  ])
  for (const name of ['asked', 'by-annotation', 'by-label'])
    await cluster.wait(['pod', name, '-n', annotated], 'condition=Ready')
  t.same(await containersOf(cluster, annotated, 'asked'), ['sidecar', 'app'])
  t.match(await ping(cluster, { namespace: annotated, name: 'asked' }), /3 of 3 answered/)
  t.same(await containersOf(cluster, annotated, 'by-annotation'), ['app'])
  t.same(await containersOf(cluster, annotated, 'by-label'), ['app'])
})

t.test('Deployment, StatefulSet and DaemonSet', async (t) => {
  const apiVersion = 'apps/v1'
  const specOf = (app: string): object => ({
    selector: { matchLabels: { app } },
    template: { ...template, metadata: { annotations, labels: { app } } },
  })
  await cluster.apply([
    {
      apiVersion,
      kind: 'Deployment',
      metadata: { name: 'deployed', namespace },
      spec: { replicas: 2, ...specOf('deployed') },
    },
    {
      apiVersion,
      kind: 'StatefulSet',
      metadata: { name: 'stateful', namespace },
      spec: { replicas: 2, serviceName: 'stateful', ...specOf('stateful') },
    },
    { apiVersion, kind: 'DaemonSet', metadata: { name: 'daemon', namespace }, spec: specOf('daemon') },
  ])
  for (const [app, count] of [
    ['deployed', 2],
    ['stateful', 2],
    ['daemon', 1],
  ] as const) {
    for (const name of await readyPods(`app=${app}`, count)) {
      t.same(await containersOf(cluster, namespace, name), ['sidecar', 'app'], name)
      t.match(await ping(cluster, { namespace, name }), /3 of 3 answered/, name)
    }
  }
})

t.test('a Job completes: the sidecar does not hold it back', async (t) => {
  const once = {
    command: undefined,
    args: ['ping', '-I', 'nsm-1', '-c', '1'],
  }
  await cluster.apply([
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'once', namespace },
      spec: {
        backoffLimit: 0,
        template: { ...template, spec: podSpec(node.name, { restartPolicy: 'Never' }, once) },
      },
    },
  ])
  await cluster.wait(['job/once', '-n', namespace], 'condition=Complete')
  t.match(await cluster.kubectl(['logs', '-n', namespace, 'job/once', '-c', 'app']), /1 of 1 answered/)
})

t.test('an init container has the service already', async (t) => {
  const initContainers = [
    {
      name: 'needs-it',
      image,
      args: ['ping', '-I', 'nsm-1', '-c', '1'],
      securityContext: restricted,
    },
  ]
  await cluster.apply([pod({ namespace, name: 'init', services, node: node.name, spec: { initContainers } })])
  await cluster.wait(['pod', 'init', '-n', namespace], 'condition=Ready')
  t.same(await containersOf(cluster, namespace, 'init'), ['sidecar', 'needs-it', 'app'])
  t.match(await cluster.kubectl(['logs', '-n', namespace, 'init', '-c', 'needs-it']), /1 of 1 answered/)
})

t.test('beside another injector’s native sidecar', async (t) => {
  const other = {
    ...(podSpec() as { containers: object[] }).containers[0],
    name: 'proxy',
    restartPolicy: 'Always',
  }
  const mine = { namespace, services, node: node.name }
  await cluster.apply([pod({ ...mine, name: 'both', spec: { initContainers: [other] } })])
  await cluster.wait(['pod', 'both', '-n', namespace], 'condition=Ready')
  t.same(new Set(await containersOf(cluster, namespace, 'both')), new Set(['sidecar', 'proxy', 'app']))
  t.match(await ping(cluster, { namespace, name: 'both' }), /3 of 3 answered/)
})

t.test('a dry run shows the injected pod, and leaves nothing', async (t) => {
  const manifest = JSON.stringify(pod({ namespace, name: 'dry', services }))
  const shown = JSON.parse(
    await cluster.kubectl(['apply', '--dry-run=server', '-o', 'json', '-f', '-'], manifest),
  ) as { spec: { initContainers?: { name: string }[] } }
  t.same(
    shown.spec.initContainers?.map(({ name }) => name),
    ['sidecar'],
  )
  t.equal(await cluster.kubectl(['get', 'pod', 'dry', '-n', namespace, '--ignore-not-found']), '')
  t.same(await cluster.events(namespace, 'dry'), [])
})

t.test('a wish that cannot be read is refused with the place and what would be right', async (t) => {
  const wrong = pod({ namespace, name: 'wrong', services: 'kernl://work/nsm-1' })
  const refused = await cluster.apply([wrong]).then(
    () => '',
    (err: unknown) => (err instanceof CommandError ? err.stderr : String(err)),
  )
  t.match(refused, /networkservicemesh\.io/)
  t.match(refused, /kernl/)
  t.match(refused, /kernel:\/\//)
})
