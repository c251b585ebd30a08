import t, { type Test } from 'tap'
import { client, eventOf, installMesh } from '../../kit/cluster-mesh.js'
import { clusterScene, podOf, pods, type ClusterScene } from '../../kit/cluster-scene.js'
import { matchesGolden } from '../../kit/golden.js'
import { kubectlNsm } from '../../kit/kubectl-nsm.js'

const golden = new URL('../../../cli/kubectl/golden/', import.meta.url)

async function mesh(t: Test): Promise<ClusterScene> {
  const scene = await clusterScene(t)
  installMesh(scene)
  client(scene, 'client-2', { endpoint: 'postgres-2', addresses: ['172.16.1.98/32'] })
  scene.put(pods, podOf('plain'))
  const about = { kind: 'Pod', name: 'client-1', uid: 'uid-client-1' }
  scene.put('/api/v1/events', eventOf(about, 'NetworkServiceConnected', 'postgres on nsm-1 by postgres-1'))
  scene.put('/api/v1/events', eventOf({ kind: 'Pod', name: 'other', uid: 'x' }, 'Started', 'not shown'))
  return scene
}

t.test('a pod, a service and an endpoint', async (t) => {
  const scene = await mesh(t)
  for (const [file, ...args] of [
    ['describe-pod.txt', 'pod', 'client-1'],
    ['describe-service.txt', 'service/postgres'],
    ['describe-endpoint.txt', 'nse', 'postgres-1'],
  ] as const) {
    const { out, code, error } = await kubectlNsm(scene, ['describe', ...args])
    t.equal(error, '')
    t.equal(code, 0)
    matchesGolden(t, new URL(file, golden), out)
  }
})

t.test('a name alone is that of a pod, else of a service, else of an endpoint', async (t) => {
  const scene = await mesh(t)
  const first = async (name: string): Promise<string> =>
    (await kubectlNsm(scene, ['describe', name])).out.split('\n', 1)[0] ?? ''
  t.match(await first('client-1'), /^Pod: +demo\/client-1$/)
  t.match(await first('postgres'), /^Network service: +postgres$/)
  t.match(await first('postgres-1'), /^Endpoint: +postgres-1$/)
  scene.put(pods, podOf('postgres-1'))
  t.match(await first('postgres-1'), /^Endpoint: +postgres-1$/, 'its pod has the same name')
})

t.test('as JSON', async (t) => {
  const scene = await mesh(t)
  const { out } = await kubectlNsm(scene, ['describe', 'service', 'postgres', '-o', 'json'])
  t.match(JSON.parse(out), {
    service: { metadata: { name: 'postgres' } },
    endpoints: [{ metadata: { name: 'postgres-1' } }],
    clients: [
      { pod: 'client-1', endpoint: 'postgres-1', state: 'UP' },
      { pod: 'client-2', endpoint: 'postgres-2', state: 'UP' },
    ],
  })
})

t.test('without custom resources there is no mesh', async (t) => {
  const scene = await mesh(t)
  const serve = scene.server.intercept
  scene.server.intercept = (call, res) => {
    if (!call.path.startsWith('/apis/networkservicemesh.io')) return serve?.(call, res) ?? false
    res.writeHead(404).end('404 page not found')
    return true
  }
  const { error } = await kubectlNsm(scene, ['describe', 'service', 'postgres'])
  t.match(
    error,
    /^there is no mesh in this cluster: networkservices are not defined; install it with `helm install/,
  )
})

t.test('what there is not', async (t) => {
  const scene = await mesh(t)
  const said = async (...args: string[]): Promise<string> => {
    const { error, code } = await kubectlNsm(scene, ['describe', ...args])
    return `${code}: ${error}`
  }
  t.equal(
    await said('nobody'),
    '1: there is no pod with a sidecar in namespace demo, service or endpoint called nobody',
  )
  t.equal(await said('service', 'nobody'), '1: there is no service called nobody')
  t.match(await said('pod', 'plain'), /^1: pod demo\/plain has no sidecar/)
  t.match(await said('node', 'x'), /^2: error: node is no kind; there is pod, service and endpoint/)
  t.match(await said('a', 'b', 'c'), /^2: error: say one name/)
})
