import t from 'tap'
import { run } from './harness/command.ts'
import { progress } from './harness/progress.ts'
import { openTools } from './harness/tools.ts'
import { waitFor } from './harness/wait-for.ts'
import { kubernetesWorld } from './kubernetes-world.ts'
import { chartRenderer } from './rendered-chart.ts'

const system = 'nsm-system'
const tools = await openTools(progress((line) => t.comment(line)))
const world = await kubernetesWorld(t, 'status-policy')
const { kubeconfig: agents } = await world.account(t, 'agent', [
  { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] },
  // kubectl looks before it patches.
  { apiGroups: [''], resources: ['pods', 'pods/status'], verbs: ['get'] },
])

async function kubectl(kubeconfig: string, ...args: readonly string[]): Promise<string> {
  return run([...tools.component('kubectl'), '--kubeconfig', kubeconfig, ...args])
}

/** What an agent does with each change of a connection. */
async function patchStatus(pod: string, ...args: readonly string[]): Promise<string> {
  const conditions = [{ type: 'networkservicemesh.io/connected', status: 'True' }]
  const patch = [
    '--subresource=status',
    '--type=strategic',
    '--patch',
    JSON.stringify({ status: { conditions } }),
  ]
  return kubectl(agents, 'patch', 'pod', pod, '--namespace', system, ...patch, ...args)
}

t.test('an agent writes the status of pods on its own node alone', async (t) => {
  const { objects } = chartRenderer(tools)
  for (const object of await objects([])) {
    if (object.metadata.name !== 'nsm-agent-status.networkservicemesh.io') continue
    const resource = object.kind.endsWith('Binding')
      ? 'validatingadmissionpolicybindings'
      : 'validatingadmissionpolicies'
    await world.client.create(`/apis/admissionregistration.k8s.io/v1/${resource}`, object)
  }
  for (const name of ['one', 'two']) {
    await world.client.create('/api/v1/nodes', { metadata: { name } })
    for (const pod of [`agent-${name}`, `pod-${name}`])
      await world.client.create(`/api/v1/namespaces/${system}/pods`, {
        metadata: { name: pod },
        spec: { nodeName: name, serviceAccountName: 'agent', containers: [{ name: 'a', image: 'a' }] },
      } as never)
  }
  const bound = ['--bound-object-kind', 'Pod', '--bound-object-name', 'agent-one']
  const token = await kubectl(world.kubeconfig, 'create', 'token', 'agent', '--namespace', system, ...bound)
  const refused = { message: /may write the status of pods on its own node alone/ }
  await waitFor('a policy that is followed', async () =>
    patchStatus('pod-two', '--token', token).then(
      () => false,
      (err: unknown) => refused.message.test(String(err)),
    ),
  )
  t.match(await patchStatus('pod-one', '--token', token), 'patched')
  await t.rejects(patchStatus('pod-two', '--token', token), refused)
  await t.rejects(patchStatus('pod-one'), refused, 'a token that is of no pod names no node')
  const args = ['label', 'pod', 'pod-two', '--namespace', system, 'looked=at']
  t.match(await kubectl(world.kubeconfig, ...args), 'labeled', 'others are not asked')
})
