import { leaveCluster } from '@nsm/cli/cluster/leave.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import t, { type Test } from 'tap'
import { serverAndClient } from '../../kit/api-client.ts'
import { status } from '../../kit/api-server.ts'

const namespace = 'nsm-system'
const pods = '/api/v1/pods'
const deployments = '/apis/apps/v1/deployments'
const daemonSets = '/apis/apps/v1/daemonsets'
const endpoints = '/apis/networkservicemesh.io/v1/networkserviceendpoints'
const services = '/apis/networkservicemesh.io/v1/networkservices'

const named = (name: string, where = namespace): KubernetesObject => ({
  metadata: { name, namespace: where },
})

/** A pod of the mesh that is ready, or not, or in which nothing runs. */
function podOf(part: string, name: string, how: 'ready' | 'unready' | 'crashed' = 'ready'): KubernetesObject {
  const labels = { 'app.kubernetes.io/name': 'nsm', 'app.kubernetes.io/component': part }
  const conditions = [{ type: 'Ready', status: how === 'ready' ? 'True' : 'False' }]
  const state = how === 'crashed' ? { waiting: { reason: 'CrashLoopBackOff' } } : { running: {} }
  return { metadata: { name, namespace, labels }, status: { conditions, containerStatuses: [{ state }] } }
}

async function installation(t: Test) {
  const { server, client } = await serverAndClient(t)
  const { store } = server
  for (const pod of [podOf('forwarder', 'f-1'), podOf('forwarder', 'f-2', 'crashed'), podOf('agent', 'a-1')])
    store.put(pods, pod)
  store.put(pods, podOf('registry', 'r-1'))
  store.put(pods, { ...named('other'), status: { conditions: [{ type: 'Ready', status: 'True' }] } })
  store.put(deployments, named('registry'))
  store.put(daemonSets, named('agent'))
  store.put(endpoints, named('nse-1'))
  store.put(services, named('web'))
  store.put(services, named('mine', 'demo'))
  const said: string[] = []
  const terminal = {
    step: (text: string) => void said.push(`ok ${text}`),
    note: (text: string) => void said.push(text),
  }
  const leave = (testNamespace?: string) =>
    leaveCluster({
      client,
      terminal,
      signal: new AbortController().signal,
      waitMs: 2_000,
      lookMs: 5,
      settledMs: 400,
      testNamespace,
    })
  return { server, store, said, leave }
}

t.test('forwarders leave, the registry ends, and what it has written goes', async (t) => {
  const { server, store, said, leave } = await installation(t)
  store.put('/api/v1/namespaces', { metadata: { name: 'nsm-test' } })
  server.intercept = ({ method, path }) => {
    for (const [part, name] of [
      ['forwarder', 'f-1'],
      ['agent', 'a-1'],
    ] as const)
      if (method === 'PATCH' && path.endsWith(`/${name}`))
        setTimeout(() => store.put(pods, podOf(part, name, 'unready')), 20)
    if (method === 'DELETE' && path.endsWith('/deployments/registry'))
      setTimeout(() => store.remove(pods, namespace, 'r-1'), 20)
    return false
  }
  await leave('nsm-test')
  t.same(said, [
    'ok interfaces are removed from pods',
    'ok agents stay until pods have let go of their volumes',
    'ok the registry ends',
    'ok what was registered is deleted',
    'ok namespace nsm-test is removed',
  ])
  const annotated = server.calls.filter(({ method }) => method === 'PATCH')
  t.same(
    annotated.map(({ path }) => path.split('/').at(-1)),
    ['a-1', 'f-1', 'f-2'],
  )
  t.same(annotated[0]?.body, { metadata: { annotations: { 'networkservicemesh.io/leave': 'true' } } })
  t.same(store.list(endpoints, undefined), [])
  t.same(
    store.list(services, undefined).map(({ metadata }) => metadata.name),
    ['mine'],
    'what people made elsewhere is theirs',
  )
  t.equal(store.get('/api/v1/namespaces', undefined, 'nsm-test'), undefined)
  // Its pod is gone before the first object is deleted.
  const deletes = server.calls
    .filter(({ method }) => method === 'DELETE')
    .map(({ path }) => path.split('/').at(-1))
  t.same(deletes, ['agent', 'a-1', 'registry', 'nse-1', 'web', 'nsm-test'])
  t.match(
    server.calls.filter(({ method }) => method === 'DELETE').map(({ query, body }) => [query, body]),
    [
      [{ propagationPolicy: 'Orphan' }, undefined],
      [{ gracePeriodSeconds: '600' }, undefined],
    ],
  )
})

t.test('what does not work is told, and the rest is done', async (t) => {
  const { server, store, said, leave } = await installation(t)
  store.remove(pods, namespace, 'r-1')
  store.remove(deployments, namespace, 'registry')
  server.intercept = ({ method, path }, res) => {
    if (method !== 'GET' || !path.endsWith('/networkserviceendpoints')) return false
    status(res, 403, 'Forbidden', 'not allowed')
    return true
  }
  await leave()
  t.equal(said[0], 'interfaces are removed from pods: these did not answer in time: a-1, f-1')
  t.equal(said[2], 'ok the registry ends', 'it was gone already')
  t.match(said[3], /^what was registered is deleted: .*not allowed/)
  t.equal(said.length, 4)
})

t.test('only a pod that was ready, and stays as it is then, has answered', async (t) => {
  const { server, store, said, leave } = await installation(t)
  store.put(pods, podOf('agent', 'a-1', 'unready'))
  const steps: string[] = []
  const becomes = (how: 'ready' | 'unready', afterMs: number): void =>
    void setTimeout(() => {
      steps.push(how)
      store.put(pods, podOf('agent', 'a-1', how))
    }, afterMs)
  server.intercept = ({ method, path }) => {
    if (method === 'PATCH' && path.endsWith('/f-1')) store.put(pods, podOf('forwarder', 'f-1', 'unready'))
    // It starts when it is asked, misses one probe, and has read then that it is to leave.
    if (method === 'PATCH' && path.endsWith('/a-1'))
      for (const [i, how] of (['ready', 'unready', 'ready', 'unready'] as const).entries())
        becomes(how, 100 + i * 30)
    if (method === 'DELETE' && path.endsWith('/a-1')) steps.push('deleted')
    if (method === 'DELETE' && path.endsWith('/deployments/registry')) store.remove(pods, namespace, 'r-1')
    return false
  }
  await leave()
  t.equal(said[0], 'ok interfaces are removed from pods')
  t.same(steps, ['ready', 'unready', 'ready', 'unready', 'deleted'])
})

t.test('a look that fails is repeated', async (t) => {
  const { server, store, said, leave } = await installation(t)
  store.put(pods, podOf('agent', 'a-1', 'crashed'))
  store.put(pods, podOf('forwarder', 'f-1', 'crashed'))
  store.remove(pods, namespace, 'r-1')
  let isRefused = true
  server.intercept = ({ method, path }, res) => {
    if (method !== 'PATCH' || !path.endsWith('/f-1') || !isRefused) return false
    isRefused = false
    status(res, 500, 'InternalError', 'etcdserver: leader changed')
    return true
  }
  await leave()
  t.equal(said[0], 'ok interfaces are removed from pods')
  const asked = server.calls.filter(({ method, path }) => method === 'PATCH' && path.endsWith('/f-1'))
  t.equal(asked.length, 2)
})
