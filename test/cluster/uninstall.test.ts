import t from 'tap'
import { endpoint, install, installedMesh, ping, pod, system, testNamespace } from './installed-mesh.ts'
import { waitFor } from './harness/wait-for.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes

const namespace = 'uninstalled'
const services = `kernel://${namespace}/nsm-1`
const interfaces = ['/nsm/node', '-p', 'Object.keys(os.networkInterfaces()).sort().join()']

/** Of the node's agents, those that have ended included. */
const lastWords = 'tail -n 20 /var/log/pods/nsm-system_agent-*/agent/*.log 2>&1 || true'

/** Of the whole cluster, by what each object of the chart is labelled with. */
const kinds = [
  'mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings,csidrivers',
  'clusterroles,clusterrolebindings,namespaces',
].join()

t.test('an uninstallation leaves nothing, while pods go on that use the mesh', async (t) => {
  const { name: onNode } = node
  await testNamespace(t, cluster, namespace, {
    labels: { 'pod-security.kubernetes.io/enforce': 'restricted' },
  })
  t.teardown(async () => install(cluster))
  const spec = { securityContext: { runAsUser: 65_532 } }
  await cluster.apply(endpoint({ namespace, service: namespace, cidr: '172.25.0.0/28', node: onNode, spec }))
  await cluster.apply([pod({ namespace, name: 'client', services, node: onNode, spec })])
  await cluster.wait(['pod', 'client', '-n', namespace], 'condition=Ready')
  t.match(await ping(cluster, { namespace, name: 'client' }), '3 of 3 answered')

  await cluster.helm(['uninstall', 'nsm', '--namespace', system, '--timeout', '5m'])

  const { items } = await cluster.json<{ items: { metadata: { name: string } }[] }>([
    ...['get', 'pods', '-n', namespace],
  ])
  t.equal(items.length, 2)
  for (const { metadata } of items)
    t.equal(
      (await cluster.exec({ namespace, name: metadata.name }, interfaces)).trim(),
      'eth0,lo',
      metadata.name,
    )
  const selector = ['-l', 'app.kubernetes.io/name=nsm', '--ignore-not-found']
  t.equal(await cluster.kubectl(['get', kinds, ...selector]), '')
  const registered = ['get', 'networkservices,networkserviceendpoints', '-n', system, '--ignore-not-found']
  t.equal(await cluster.kubectl(registered), '')
  const rest = 'deployments,daemonsets,services,secrets,configmaps,roles,rolebindings,serviceaccounts,jobs'
  t.equal(await cluster.kubectl(['get', rest, '-n', system, ...selector]), '')

  // Its volumes are unmounted by an agent that has stayed for that.
  try {
    await cluster.kubectl(['delete', 'namespace', namespace, '--timeout=120s'])
  } catch (err) {
    t.comment(await cluster.kubectl(['get', 'pods', '--all-namespaces', '-o', 'wide']))
    for (const one of cluster.nodes) t.comment(await one.run(['sh', '-c', lastWords]))
    throw err
  }
  await cluster.kubectl(['delete', 'namespace', system, '--timeout=120s'])
  for (const one of cluster.nodes) {
    const mounts = await one.run(['cat', '/proc/self/mounts'])
    t.notMatch(mounts, 'kubernetes.io~csi', `${one.name}: no volume is mounted`)
    const sockets = ['find', '/var/lib/networkservicemesh', '/run/spire/sockets', '-type', 's']
    t.equal(await one.run(sockets), '', `${one.name}: no socket is left`)
    const plugins = await one.run(['ls', '/var/lib/kubelet/plugins_registry'])
    t.equal(plugins, '', `${one.name}: kubelet knows no driver`)
  }
})

t.test('what is installed again works as before', async (t) => {
  await install(cluster)
  const again = 'uninstalled-again'
  await testNamespace(t, cluster, again)
  await cluster.apply(endpoint({ namespace: again, service: again, cidr: '172.25.0.16/28', node: node.name }))
  await cluster.apply([
    pod({ namespace: again, name: 'client', services: `kernel://${again}/nsm-1`, node: node.name }),
  ])
  await cluster.wait(['pod', 'client', '-n', again], 'condition=Ready')
  await waitFor('packets pass', async () => ping(cluster, { namespace: again, name: 'client' }))
})
