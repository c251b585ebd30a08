import t from 'tap'
import {
  containersOf,
  endpoint,
  image,
  install,
  installedMesh,
  ping,
  pod,
  testNamespace,
} from './installed-mesh.ts'
import { waitFor } from './harness/wait-for.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes

const namespace = 'by-policy'
const services = `kernel://${namespace}/nsm-1`

t.test('API servers inject by themselves: no webhook runs', async (t) => {
  t.teardown(async () => install(cluster))
  await install(cluster, 'injection.by=policy')
  const left = ['get', 'deployments,mutatingwebhookconfigurations', '-A', '-o', 'name']
  t.notMatch(await cluster.kubectl(left), 'webhook')
  await testNamespace(t, cluster, namespace)
  await cluster.apply(endpoint({ namespace, service: namespace, cidr: '172.26.0.0/28', node: node.name }))

  const first = { initContainers: [{ name: 'first', image, args: ['--version'] }] }
  // An API server takes a moment to follow a new policy.
  const made = { namespace, name: 'asks', node: node.name }
  await waitFor('a policy that is followed', async () => {
    const dryRun = ['create', '--dry-run=server', '-o', 'jsonpath={.spec.initContainers[*].name}', '-f', '-']
    const [wish] = [pod({ ...made, services })]
    return (await cluster.kubectl(dryRun, JSON.stringify(wish))) === 'sidecar'
  })
  await cluster.apply([pod({ ...made, services, spec: first }), pod({ ...made, name: 'silent' })])
  await cluster.wait(['pod', 'asks', '-n', namespace], 'condition=Ready')
  t.same(await containersOf(cluster, namespace, 'asks'), ['sidecar', 'first', 'app'])
  t.match(await ping(cluster, made), '3 of 3 answered')
  t.same(await containersOf(cluster, namespace, 'silent'), ['app'])

  const metadata = { labels: { 'networkservicemesh.io/inject': 'disabled' } }
  await cluster.apply([pod({ ...made, name: 'opted-out', metadata })])
  await cluster.kubectl(['annotate', 'namespace', namespace, `networkservicemesh.io=${services}`])
  await waitFor('the annotation on the namespace to count', async () => {
    await cluster.kubectl(['delete', 'pod', 'silent', '-n', namespace, '--ignore-not-found', '--wait'])
    await cluster.apply([pod({ ...made, name: 'silent' })])
    return (await containersOf(cluster, namespace, 'silent'))[0] === 'sidecar'
  })
  t.same(await containersOf(cluster, namespace, 'opted-out'), ['app'])
})
