import t from 'tap'
import { CommandError } from './harness/command.ts'
import { waitFor } from './harness/wait-for.ts'
import { containersOf, endpoint, installedMesh, ping, pod, testNamespace } from './installed-mesh.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes
const namespace = 'required'
const key = 'networkservicemesh.io'

await testNamespace(t, cluster, namespace)
await cluster.apply(endpoint({ namespace, service: 'there', cidr: '172.28.0.0/24', node: node.name }))
await cluster.wait(['deployment/there', '-n', namespace], 'condition=Available')

function client(name: string, required: string): object {
  const annotations = { [key]: 'kernel://there/nsm-1,kernel://nowhere/nsm-2', [`${key}/required`]: required }
  return pod({ namespace, name, node: node.name, metadata: { annotations } })
}

async function failuresOf(name: string): Promise<readonly string[]> {
  const { items } = await cluster.json<{ items: { reason: string; message: string }[] }>([
    ...['get', 'events', '-n', namespace, '--field-selector', `involvedObject.name=${name}`],
  ])
  return items.flatMap(({ reason, message }) => (reason === 'NetworkServiceFailed' ? [message] : []))
}

t.test('a pod starts without a service that it does not require, and Events tell of that', async (t) => {
  await cluster.apply([client('one', 'there')])
  await cluster.wait(['pod', 'one', '-n', namespace], 'condition=Ready')
  t.same(await containersOf(cluster, namespace, 'one'), ['sidecar', 'app'])
  t.match(await ping(cluster, { namespace, name: 'one' }), /3 of 3 answered/)
  await waitFor('an Event on the pod', async () =>
    (await failuresOf('one')).some((message) => message.includes('nowhere')),
  )
})

t.test('it waits for one that it requires', async (t) => {
  await cluster.apply([client('other', 'nsm-2')])
  await waitFor('an Event on the pod', async () => (await failuresOf('other')).length > 0)
  const { status } = await cluster.json<{
    status: { containerStatuses?: { name: string; started?: boolean }[] }
  }>(['get', 'pod', 'other', '-n', namespace])
  t.notOk(
    status.containerStatuses?.some(({ name, started }) => name === 'app' && started === true),
    'its container has not started',
  )
})

t.test('a name that the pod does not have is refused, with those that it has', async (t) => {
  const refused = await cluster.apply([client('slip', 'ther')]).then(
    () => 'admitted',
    (err: unknown) => (err instanceof CommandError ? err.stderr : String(err)),
  )
  t.match(refused, /required must be true, false or a list of names out of there, nsm-1, nowhere, nsm-2/)
})
