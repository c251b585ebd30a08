import t from 'tap'
import { loadImages } from './harness/load-images.ts'
import { progress } from './harness/progress.ts'
import { layoutOfState, readState } from './harness/state.ts'
import { endpoint, install, installedMesh, pod, system, testNamespace } from './installed-mesh.ts'
import { counted, countedSince, echoClient, echoServer } from './traffic.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes
const state = readState(cluster.name)
if (state === undefined) throw new Error(`cluster ${cluster.name} is gone`)

t.test('an upgrade to other images loses no packet', async (t) => {
  const namespace = 'upgrade'
  const address = '172.24.0.0'
  await testNamespace(t, cluster, namespace)
  t.teardown(async () => install(cluster))
  await loadImages({
    layout: layoutOfState(state),
    tag: 'other',
    progress: progress((line) => t.comment(line)),
  })
  await cluster.apply(
    endpoint({
      namespace,
      service: 'upgrade',
      cidr: `${address}/28`,
      node: node.name,
      containers: [echoServer],
    }),
  )
  const client = { namespace, name: 'client' }
  const services = 'kernel://upgrade/nsm-1'
  await cluster.apply([pod({ ...client, services, node: node.name, container: echoClient(address) })])
  const before = await counted(cluster, client)

  await install(cluster, 'image.tag=other')
  const { items } = await cluster.json<{
    items: {
      metadata: { name: string; deletionTimestamp?: string }
      spec: { containers: { image: string }[] }
    }[]
  }>(['get', 'pods', '-n', system])
  const running = items.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
  for (const { metadata, spec } of running)
    for (const container of spec.containers) t.match(container.image, /:other$/, metadata.name)
  // Each part has come back and renewed what it keeps.
  const after = await countedSince(cluster, client, before, 3_000)
  t.equal(after.lost, before.lost, `of ${after.sent - before.sent} packets none is lost`)

  await cluster.apply([pod({ namespace, name: 'newcomer', services, node: node.name })])
  await cluster.wait(['pod', 'newcomer', '-n', namespace], 'condition=Ready')
})
