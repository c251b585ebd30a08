import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { CommandError } from './harness/command.ts'
import { waitFor } from './harness/wait-for.ts'
import {
  containersOf,
  endpoint,
  install,
  installedMesh,
  ping,
  pod,
  system,
  testNamespace,
} from './installed-mesh.ts'
import { counted, countedSince, echoClient, echoServer } from './traffic.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes
if (node === undefined) throw new Error('a cluster with nodes is needed')
/** Long enough for every registration and every token to end that is not renewed. */
const awayMs = 300_000
/** After an outage no registration ends for a life, of one minute; so long it takes until what is not refreshed is surely gone. */
const settledMs = 130_000

async function isRegistered(service: string): Promise<boolean> {
  const { items } = await cluster.json<{ items: { spec: { network_service_names?: string[] } }[] }>([
    ...['get', 'networkserviceendpoints', '-A'],
  ])
  return items.some(({ spec }) => spec.network_service_names?.includes(service))
}

async function stopWebhook(): Promise<void> {
  await cluster.kubectl(['scale', 'deployment/webhook', '-n', system, '--replicas=0'])
  await waitFor('no webhook', async () => {
    const pods = await cluster.kubectl([
      ...['get', 'pods', '-n', system, '-l', 'app.kubernetes.io/component=webhook', '-o', 'name'],
    ])
    return pods === ''
  })
}

t.test('the webhook is gone: who did not ask starts, who asked is told', async (t) => {
  const namespace = 'no-webhook'
  const annotated = 'no-webhook-annotated'
  await testNamespace(t, cluster, namespace)
  await testNamespace(t, cluster, annotated, {
    annotations: { 'networkservicemesh.io': 'kernel://work/nsm-1' },
  })
  t.teardown(async () => install(cluster, 'webhook.failurePolicy=Fail'))
  await stopWebhook()
  const refusal = async (manifest: object): Promise<string> =>
    cluster.apply([manifest]).then(
      () => '',
      (err: unknown) => (err instanceof CommandError ? err.stderr : String(err)),
    )

  t.equal(await refusal(pod({ namespace, name: 'plain' })), '')
  await cluster.wait(['pod', 'plain', '-n', namespace], 'condition=Ready')
  const asked = await refusal(pod({ namespace, name: 'asked', services: 'kernel://work/nsm-1' }))
  t.match(asked, /pod\.nsm-mutating-webhook\.networkservicemesh\.io/, 'its own annotation')
  const ofNamespace = await refusal(pod({ namespace: annotated, name: 'asked' }))
  t.match(ofNamespace, /nothing was injected/, 'the annotation of its namespace')
  t.match(ofNamespace, /networkservicemesh\.io\/inject: disabled/, 'with the way to start without')

  await t.test('by policy it starts without', async (t) => {
    await install(cluster, 'webhook.failurePolicy=Ignore', 'admissionPolicy.enabled=false')
    await stopWebhook()
    await waitFor('the API server to take the policy over', async () => {
      return (await refusal(pod({ namespace, name: 'without', services: 'kernel://work/nsm-1' }))) === ''
    })
    await cluster.wait(['pod', 'without', '-n', namespace], 'condition=Ready')
    t.same(await containersOf(cluster, namespace, 'without'), ['app'])
  })
})

t.test('all nodes restart at once, and everything comes back by itself', async (t) => {
  const namespace = 'reboot'
  await testNamespace(t, cluster, namespace)
  await cluster.apply([
    ...endpoint({ namespace, service: 'reboot', cidr: '172.22.0.0/28', node: node.name }),
    pod({ namespace, name: 'client', services: 'kernel://reboot/nsm-1', node: node.name }),
  ])
  await cluster.wait(['pod', 'client', '-n', namespace], 'condition=Ready')
  t.match(await ping(cluster, { namespace, name: 'client' }), /3 of 3 answered/)

  await Promise.all(cluster.nodes.map(async (one) => one.powerOff()))
  await Promise.all(cluster.nodes.map(async (one) => one.powerOn()))
  await waitFor(
    'the client to be reconnected',
    async () => /answered in/.test(await ping(cluster, { namespace, name: 'client' })),
    300_000,
  )
  const daemons = [
    'daemonset/nsmgr',
    'daemonset/forwarder',
    'daemonset/agent',
    'deployment/registry',
    'deployment/webhook',
  ]
  for (const one of daemons) await cluster.kubectl(['rollout', 'status', one, '-n', system, '--timeout=240s'])
  await cluster.apply([
    pod({ namespace, name: 'newcomer', services: 'kernel://reboot/nsm-1', node: node.name }),
  ])
  await cluster.wait(['pod', 'newcomer', '-n', namespace], 'condition=Ready')
  t.match(await ping(cluster, { namespace, name: 'newcomer' }), /3 of 3 answered/)
})

t.test(
  'the API server is away for five minutes: traffic flows, nothing is lost, new state arrives afterwards',
  async (t) => {
    const namespace = 'no-api'
    const address = '172.23.0.0'
    await testNamespace(t, cluster, namespace)
    await cluster.apply(
      endpoint({
        namespace,
        service: 'no-api',
        cidr: `${address}/28`,
        node: node.name,
        containers: [echoServer],
      }),
    )
    const client = { namespace, name: 'client' }
    const services = 'kernel://no-api/nsm-1'
    await cluster.apply([pod({ ...client, services, node: node.name, container: echoClient(address) })])
    const before = await counted(cluster, client)

    await cluster.apiServer.stop()
    await pause(awayMs)
    await cluster.apiServer.start()

    const after = await countedSince(cluster, client, before, awayMs / 10)
    t.equal(after.lost, before.lost, `of ${after.sent - before.sent} packets none is lost`)
    t.ok(await isRegistered('no-api'), 'the endpoint is still registered')
    await cluster.apply([pod({ namespace, name: 'newcomer', services, node: node.name })])
    await cluster.wait(['pod', 'newcomer', '-n', namespace], 'condition=Ready')
    t.match(await ping(cluster, { namespace, name: 'newcomer' }), /3 of 3 answered/)

    await pause(settledMs)
    t.ok(await isRegistered('no-api'), 'and is when registrations end again')
    t.match(await ping(cluster, { namespace, name: 'newcomer' }), /3 of 3 answered/)
    const later = await countedSince(cluster, client, after, settledMs / 10)
    t.equal(later.lost, before.lost)
  },
)
