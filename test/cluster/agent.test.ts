import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import t from 'tap'
import { agentWorld, ask, images } from './agent-world.ts'
import { waitFor } from './harness/wait-for.ts'
import { endpoint, installedMesh, pod, testNamespace } from './installed-mesh.ts'

const world = await agentWorld(t)
const idOf = (name: string): string => `spiffe://k8s.nsm/ns/${world.namespace}/pod/${name}`

/** The registry asks for its identity first of all, and logs it. */
const workload = { image: images.registry, env: { NSM_OPS_LISTEN_ON: 'off', NSM_LISTEN_ON: 'tcp://:5002' } }

async function identityOf(name: string): Promise<string | undefined> {
  return (await world.log(name))
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, string>)
    .findLast(({ msg }) => msg === 'identity')?.['spiffe_id']
}

const secretPath = `/api/v1/namespaces/${world.namespace}/secrets/nsm-authority`

t.test('pods have their own identities, other processes of the node have none', async (t) => {
  const agent = await world.startAgent()
  const [web] = await Promise.all([world.run('web', workload), world.run('db', workload)])
  t.equal(await waitFor('web is identified', async () => identityOf('web')), idOf('web'))
  t.equal(await waitFor('db is identified', async () => identityOf('db')), idOf('db'))

  const outside = ask(t, agent)
  await waitFor('an answer', () => outside.lines.length > 0)
  t.match(outside.lines, [{ code: 'PERMISSION_DENIED' }])
  outside.end()
  t.match(await world.log('agent'), /"why":"process \d+ is in no pod"/)

  const inside = ask(t, agent, web.cgroup)
  await waitFor('an answer', () => inside.lines.length > 0)
  t.match(inside.lines, [{ id: idOf('web') }])
  inside.end()
})

t.test(
  'an agent that is started again has the same roots; a pod that is gone loses its identity while its processes run',
  async (t) => {
    const before = await world.client.get<KubernetesObject>(secretPath)
    await world.remove('agent')
    const agent = await world.startAgent()
    t.same((await world.client.get<KubernetesObject>(secretPath))['data'], before['data'])
    const fresh = await world.run('fresh', workload)
    t.equal(await waitFor('fresh is identified', async () => identityOf('fresh')), idOf('fresh'))
    const inside = ask(t, agent, fresh.cgroup)
    await waitFor('an identity', () => inside.lines.length > 0)
    t.match(inside.lines, [{ id: idOf('fresh') }])

    await world.client.patch(secretPath, [{ op: 'remove', path: '/data' }], 'json')
    const renewed = await waitFor('an identity of a new root', () => inside.lines[1])
    t.match(renewed, { id: idOf('fresh') })
    t.not(renewed['serial'], inside.lines[0]?.['serial'])
    const after = await world.client.get<KubernetesObject>(secretPath)
    t.ok(after['data'] !== undefined && JSON.stringify(after['data']) !== JSON.stringify(before['data']))

    await world.forget('fresh')
    await waitFor('its end', () => inside.lines.some(({ code }) => code === 'PERMISSION_DENIED'))
  },
)

t.test('what becomes of a pod’s connections is told on the pod', async (t) => {
  const fields = { readinessGates: [{ conditionType: 'networkservicemesh.io/connected' }] }
  const env = {
    NSM_NETWORK_SERVICES: 'kernel://db/nsm-1',
    NSM_OPS_LISTEN_ON: ':9080',
    NSM_LOCAL_DNS_SERVER_ENABLED: 'false',
  }
  await world.run('client', { image: images.sidecar, env, fields })
  const events = await waitFor('an event', async () => {
    const found = await world.events('client')
    return found.some(({ reason }) => reason === 'NetworkServiceFailed') && found
  })
  const told = events.filter(({ reason }) => reason === 'NetworkServiceFailed')
  t.match(told, [
    { type: 'Warning', message: /^db: RequestFailed: /, involvedObject: { kind: 'Pod', name: 'client' } },
  ])
  const path = `/api/v1/namespaces/${world.namespace}/pods/client`
  const condition = await waitFor('the condition', async () => {
    const pod = await world.client.get<
      KubernetesObject & { status: { conditions: readonly Record<string, string>[] } }
    >(path)
    return pod.status.conditions.find(({ type }) => type === 'networkservicemesh.io/connected')
  })
  t.match(condition, { status: 'False', message: /^db: / })
})

t.test('a pod waits for its connection by a readiness gate; its loss and its return are told', async (t) => {
  const cluster = await installedMesh()
  const namespace = `${world.namespace}-gate`
  await testNamespace(t, cluster, namespace, { labels: { 'networkservicemesh.io/inject': 'enabled' } })
  const service = `gate-${process.pid}`
  const readinessGates = [{ conditionType: 'networkservicemesh.io/connected' }]
  const pods = { namespace, node: world.node }
  await cluster.apply([
    pod({ ...pods, name: 'client', services: `kernel://${service}/nsm-1`, spec: { readinessGates } }),
  ])
  const condition = ['-n', namespace, 'pod/client']
  await cluster.wait(condition, 'condition=networkservicemesh.io/connected=False')
  await cluster.apply(endpoint({ ...pods, service, cidr: '172.16.77.0/28' }))
  await cluster.wait(condition, 'condition=networkservicemesh.io/connected')
  await cluster.wait(condition, 'condition=Ready')

  const told = async (reason: string): Promise<string | undefined> =>
    (await cluster.events(namespace, 'client')).find((event) => event.reason === reason)?.message
  await cluster.kubectl([
    '-n',
    namespace,
    'delete',
    'pod',
    '-l',
    `app=${service}`,
    '--grace-period=1',
    '--wait=false',
  ])
  const heal = await waitFor('the heal', async () => told('NetworkServiceHealed'))
  t.match(
    heal,
    new RegExp(`^${service}: nsm-1 is connected to .*, after (Data|Control)PlaneLost for \\d+ ms$`),
  )
  t.match(await told('NetworkServiceConnected'), new RegExp(`^${service}: nsm-1 is connected to ${service}-`))
  await cluster.wait(condition, 'condition=networkservicemesh.io/connected')
})
