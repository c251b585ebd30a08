import { parse } from 'yaml'
import t, { type Test } from 'tap'
import { client, eventOf, installMesh } from '../../kit/cluster-mesh.js'
import { ago, clusterScene, podOf, pods, type ClusterScene } from '../../kit/cluster-scene.js'
import { matchesGolden } from '../../kit/golden.js'
import { kubectlNsm } from '../../kit/kubectl-nsm.js'

const golden = new URL('../../../cli/kubectl/golden/', import.meta.url)

/** A mesh with pods in several states. */
async function states(t: Test): Promise<ClusterScene> {
  const scene = await clusterScene(t)
  installMesh(scene)
  client(scene, 'waits', {
    state: 'CONNECTING',
    reason: 'RequestFailed',
    message: 'no endpoint of postgres is registered',
    since: ago(5.5 * 3_600_000),
    endpoint: null,
    interface: null,
    addresses: [],
    endpointAddresses: [],
    path: [],
  })
  scene.put(pods, podOf('silent', 'kernel://postgres/nsm-1,kernel://cache/nsm-2'))
  const { status, ...pending } = podOf('pending', 'kernel://postgres/nsm-1')
  scene.put(pods, {
    ...pending,
    status: {
      phase: 'Pending',
      initContainerStatuses: [
        {
          name: 'sidecar',
          ready: false,
          restartCount: 0,
          state: { waiting: { reason: 'ImagePullBackOff', message: 'no such image' } },
        },
      ],
    },
  })
  t.ok(status)
  const lost = podOf('lost')
  const annotations = { 'networkservicemesh.io': 'kernel://postgres' }
  scene.put(pods, { ...lost, metadata: { ...lost.metadata, annotations } })
  scene.put(pods, podOf('plain'))
  const done = podOf('done', 'kernel://postgres/nsm-1')
  scene.put(pods, { ...done, status: { phase: 'Succeeded' } })
  return scene
}

t.test('one row for each connection, and why it is not there', async (t) => {
  const scene = await states(t)
  const { out, code, error } = await kubectlNsm(scene, ['status'])
  t.equal(error, '')
  t.equal(code, 0)
  matchesGolden(t, new URL('status.txt', golden), out)
})

t.test('all namespaces, wide', async (t) => {
  const scene = await states(t)
  const { out } = await kubectlNsm(scene, ['status', '-A', '-o', 'wide'])
  matchesGolden(t, new URL('status-wide.txt', golden), out)
})

t.test('as JSON and YAML', async (t) => {
  const scene = await states(t)
  const json = JSON.parse((await kubectlNsm(scene, ['status', '-o', 'json'])).out) as { pod: string }[]
  t.strictSame(
    json.map(({ pod }) => pod),
    ['client-1', 'lost', 'pending', 'silent', 'waits'],
  )
  t.strictSame(parse((await kubectlNsm(scene, ['status', '-o', 'yaml'])).out), json)
  const none = await kubectlNsm(scene, ['status', '-o', 'json', '-n', 'default'])
  t.equal(none.out, '[]\n')
})

t.test('one pod, hop by hop', async (t) => {
  const scene = await states(t)
  const { out } = await kubectlNsm(scene, ['status', 'client-1'])
  matchesGolden(t, new URL('status-pod.txt', golden), out)
  t.equal((await kubectlNsm(scene, ['status', 'demo/client-1', '-n', 'default'])).out, out)
})

t.test('without the right to ask sidecars, conditions and events tell', async (t) => {
  const scene = await states(t)
  scene.forbidden = /proxy/
  const condition = { type: 'networkservicemesh.io/connected', status: 'True' }
  const up = podOf('client-1', 'kernel://postgres/nsm-1')
  scene.put(pods, { ...up, status: { phase: 'Running', podIP: '10.0.0.1', conditions: [condition] } })
  const about = { kind: 'Pod', name: 'waits', uid: 'uid-waits' }
  scene.put('/api/v1/events', eventOf(about, 'NetworkServiceFailed', 'postgres: no endpoint', 'Warning'))
  const { out, notes, code } = await kubectlNsm(scene, ['status'])
  t.equal(code, 0)
  matchesGolden(t, new URL('status-rights.txt', golden), out + notes)
})

t.test('a sidecar that has no status, as upstream’s', async (t) => {
  const scene = await states(t)
  const pod = podOf('upstream')
  const env = [{ name: 'NSM_NETWORK_SERVICES', value: 'kernel://postgres/nsm-1' }]
  const containers = [{ name: 'cmd-nsc', image: 'example.com/cmd-nsc:v1.14', env }]
  scene.put(pods, { ...pod, spec: { nodeName: 'node-1', containers } })
  const { out } = await kubectlNsm(scene, ['status', 'upstream'])
  t.match(out, /^upstream +postgres +UNKNOWN +- +nsm-1 +- +- +- +its sidecar does not tell its status$/m)
})

t.test('a cluster without a mesh, and how to install one', async (t) => {
  const scene = await clusterScene(t)
  const { error, code } = await kubectlNsm(scene, ['status', '-A'])
  t.equal(code, 1)
  t.match(error, /^there is no mesh in this cluster; install it with `helm install nsm /)
})

t.test('what there is not, and what one may not, is said with a way out', async (t) => {
  const scene = await states(t)
  const said = async (...args: string[]): Promise<string> => {
    const { out, error, code } = await kubectlNsm(scene, args)
    return `${code}: ${error || out}`
  }
  t.match(await said('status', 'nobody'), /^1: .*"nobody" not found/)
  t.match(
    await said('status', 'plain'),
    "1: pod demo/plain has no sidecar: it isn't annotated with networkservicemesh.io",
  )
  t.match(
    await said('status', 'lost'),
    /^1: pod demo\/lost asks for kernel:\/\/postgres and has no sidecar: it was made before/,
  )
  t.match(await said('status', '-n', 'default'), /^0: no pod in namespace default has a connection: .* -A\n$/)
  t.match(await said('status', '-o', 'xml'), /^2: .*Allowed choices are table, wide, json, yaml/)
  scene.forbidden = /GET .*\/pods/
  t.match(await said('status', '-A'), /^1: it is forbidden: User "ann" cannot get/)
  t.match(await said('status', '-A'), /see `kubectl auth can-i list pods -A`$/)
  t.match(await said('status', '-n', 'demo'), /see `kubectl auth can-i list pods -n demo`$/)
  t.match(await said('status', '--kubeconfig', '/nowhere/config'), '1: there is no kubeconfig')
  t.match(await said('status', '--context', 'other'), /^1: .*no context "other"/)
})
