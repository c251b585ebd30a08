import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import t, { type Test } from 'tap'
import { status } from '../../kit/api-server.js'
import { installMesh } from '../../kit/cluster-mesh.js'
import { clusterScene, podOf, pods, type ClusterScene } from '../../kit/cluster-scene.js'
import { kubectlNsm } from '../../kit/kubectl-nsm.js'

async function mesh(t: Test): Promise<ClusterScene> {
  const scene = await clusterScene(t)
  installMesh(scene)
  scene.put(pods, podOf('plain'))
  scene.logs.set('demo/client-1/sidecar', 'one\ntwo')
  scene.logs.set('demo/client-1/app', 'mine\n')
  return scene
}

t.test("a pod's sidecar, or another container of it", async (t) => {
  const scene = await mesh(t)
  t.equal((await kubectlNsm(scene, ['logs', 'client-1'])).out, 'one\ntwo\n')
  t.equal((await kubectlNsm(scene, ['logs', 'pod/client-1', '-c', 'app'])).out, 'mine\n')
  t.equal((await kubectlNsm(scene, ['logs', 'demo/client-1', '-n', 'default'])).out, 'one\ntwo\n')
})

t.test('a part on all nodes, or on one', async (t) => {
  const scene = await mesh(t)
  const { out } = await kubectlNsm(scene, ['logs', 'nsmgr'])
  t.equal(
    out,
    [
      'nsmgr-node-1 {"msg":"ready"}',
      'nsmgr-node-1 {"msg":"nsmgr-node-1 works"}',
      'nsmgr-node-2 {"msg":"ready"}',
      'nsmgr-node-2 {"msg":"nsmgr-node-2 works"}',
      '',
    ].join('\n'),
  )
  const one = await kubectlNsm(scene, ['logs', 'nsmgr', '--node', 'node-2'])
  t.equal(one.out, '{"msg":"ready"}\n{"msg":"nsmgr-node-2 works"}\n')
})

t.test('a pod that cannot show its log hides no other', async (t) => {
  const scene = await mesh(t)
  const serve = scene.server.intercept
  const reason = 'container "nsmgr" in pod "nsmgr-node-1" is waiting to start: ContainerCreating'
  scene.server.intercept = (call, res) => {
    if (!call.path.endsWith('/nsmgr-node-1/log')) return serve?.(call, res) ?? false
    status(res, 400, 'BadRequest', reason)
    return true
  }
  for (const follow of [[], ['-f']]) {
    const { out, notes, error, code } = await kubectlNsm(scene, ['logs', 'nsmgr', ...follow])
    t.equal(code, 1)
    t.equal(error, '')
    t.equal(out, 'nsmgr-node-2 {"msg":"ready"}\nnsmgr-node-2 {"msg":"nsmgr-node-2 works"}\n')
    t.equal(notes, `nsmgr-node-1: ${reason} (BadRequest)\n`)
  }
  const alone = await kubectlNsm(scene, ['logs', 'nsmgr', '--node', 'node-1'])
  t.equal(alone.error, `${reason} (BadRequest)`)
})

t.test('what was said before a restart, of those that had one', async (t) => {
  const scene = await mesh(t)
  const none = await kubectlNsm(scene, ['logs', 'nsmgr', '--previous'])
  t.equal(none.error, 'no pod of nsmgr in this cluster was restarted: leave out --previous')
  const restarted = scene.server.store.get(pods, 'nsm-system', 'nsmgr-node-2') as KubernetesObject
  const containerStatuses = [{ name: 'nsmgr', ready: true, restartCount: 3, state: { running: {} } }]
  scene.put(pods, { ...restarted, status: { ...(restarted['status'] as object), containerStatuses } })
  const { out } = await kubectlNsm(scene, ['logs', 'nsmgr', '-p'])
  t.equal(out, '{"msg":"ready"}\n{"msg":"nsmgr-node-2 works"}\n')
  t.strictSame(scene.server.calls.at(-1)?.query, { container: 'nsmgr', previous: 'true' })
})

t.test('how much is asked for', async (t) => {
  const scene = await mesh(t)
  await kubectlNsm(scene, ['logs', 'registry', '--since', '5m', '--tail', '7', '-f'])
  const { query } = scene.server.calls.at(-1) ?? {}
  t.strictSame(query, { container: 'registry', follow: 'true', sinceSeconds: '300', tailLines: '7' })
})

t.test('a log that is followed ends when the signal says so', async (t) => {
  const scene = await mesh(t)
  const stop = new AbortController()
  const serve = scene.server.intercept
  scene.server.intercept = (call, res) => {
    if (!call.path.endsWith('/log')) return serve?.(call, res) ?? false
    res.writeHead(200).write('first\nsec')
    setTimeout(() => stop.abort(), 100)
    return true
  }
  const { out, error, code } = await kubectlNsm(scene, ['logs', 'client-1', '-f'], stop.signal)
  t.equal(error, '')
  t.equal(code, 0)
  t.equal(out, 'first\nsec\n')
})

t.test('what there is not', async (t) => {
  const scene = await mesh(t)
  const said = async (...args: string[]): Promise<string> => {
    const { error, code } = await kubectlNsm(scene, ['logs', ...args])
    return `${code}: ${error}`
  }
  t.equal(
    await said('nobody'),
    '1: there is no pod demo/nobody, and no such part; parts are webhook, registry, nsmgr, forwarder, agent, prefixes',
  )
  t.equal(await said('plain'), '1: pod demo/plain has no sidecar; say which container with -c: app')
  t.match(await said('nsmgr', '--node', 'node-9'), '1: no pod of nsmgr runs on node node-9')
  t.match(await said('nsmgr', '--since', 'yesterday'), '2: error: --since must be like 90s, 5m or 2h')
  t.match(await said('nsmgr', '--tail', 'all'), '2: error: --tail must be a number')
})
