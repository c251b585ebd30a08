import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import t from 'tap'
import { progress } from './harness/progress.ts'
import { openTools } from './harness/tools.ts'
import { waitFor } from './harness/wait-for.ts'
import { kubernetesWorld } from './kubernetes-world.ts'
import { chartRenderer } from './rendered-chart.ts'

interface Pod extends KubernetesObject {
  readonly spec: {
    readonly initContainers?: readonly {
      readonly name: string
      readonly readinessProbe?: object
      readonly env: readonly { readonly name: string; readonly value?: string }[]
    }[]
    readonly readinessGates?: readonly object[]
    readonly volumes?: readonly object[]
  }
}

const { client } = await kubernetesWorld(t, 'policy')
const { objects } = chartRenderer(await openTools(progress((line) => t.comment(line))))
const admission = '/apis/admissionregistration.k8s.io/v1'
const connected = { conditionType: 'networkservicemesh.io/connected' }
const spire = ['--set', 'identity.mode=spire,identity.spire.socket=csi,injection.by=policy']
const namespace = 'asks'
const pods = `/api/v1/namespaces/${namespace}/pods`

/** What becomes of a pod that asks. */
async function made(metadata: object = {}, spec: object = {}): Promise<Pod> {
  return client.create<Pod>(`${pods}?dryRun=All`, {
    metadata: {
      annotations: { 'networkservicemesh.io': 'kernel://service/nsm-1' },
      name: 'client',
      ...metadata,
    },
    spec: { containers: [{ name: 'app', image: 'app' }], ...spec },
  } as unknown as Pod)
}

/** Puts the policy that these values make into the API server, which takes a moment to follow it. */
async function follow(values: string, isFollowed: (pod: Pod) => boolean): Promise<void> {
  const kinds: Readonly<Record<string, string>> = {
    MutatingAdmissionPolicy: 'mutatingadmissionpolicies',
    MutatingAdmissionPolicyBinding: 'mutatingadmissionpolicybindings',
    ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
    ValidatingAdmissionPolicyBinding: 'validatingadmissionpolicybindings',
  }
  for (const object of await objects([...spire, '--set', values])) {
    const resource = kinds[object.kind]
    const path = `${admission}/${resource}/${object.metadata.name}?fieldManager=helm&force=true`
    if (resource !== undefined) await client.patch(path, object, 'apply')
  }
  await waitFor('a policy that is followed', async () => isFollowed(await made()))
}

t.before(async () => {
  await client.create('/api/v1/namespaces', { metadata: { name: namespace } })
  // Nobody else makes it here, and pods are refused without.
  await client.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name: 'default' } })
})

t.test('pods get the labels by which they are given identities, beside their own', async (t) => {
  await follow('sidecar.podLabels.revision=blue', ({ spec }) => spec.initContainers?.length === 1)
  const ours = { 'spiffe.io/spiffe-id': 'true', revision: 'blue' }
  t.same((await made()).metadata.labels, ours)
  t.same((await made({ labels: { app: 'a', revision: 'green' } })).metadata.labels, { app: 'a', ...ours })
  const { spec } = await made()
  t.equal(spec.readinessGates, undefined)
  t.equal(spec.initContainers?.[0]?.readinessProbe, undefined)
  const [services] = spec.initContainers?.[0]?.env.filter(({ name }) => name === 'NSM_NETWORK_SERVICES') ?? []
  t.equal(services?.value, 'kernel://service/nsm-1')
})

t.test('readiness gate and readiness probe are there when they are wanted, once', async (t) => {
  const wanted = 'sidecar.readinessGate=true,sidecar.readinessProbe=true'
  await follow(wanted, ({ spec }) => spec.readinessGates !== undefined)
  const { spec } = await made()
  t.same(spec.readinessGates, [connected])
  t.match(spec.initContainers?.[0]?.readinessProbe, { httpGet: { path: '/readyz' }, periodSeconds: 2 })
  t.same((await made({}, { readinessGates: [connected] })).spec.readinessGates, [connected])
  const other = { conditionType: 'example.org/other' }
  t.same((await made({}, { readinessGates: [other] })).spec.readinessGates, [other, connected])
})

t.test('a wish that is neither yes nor no is refused', async (t) => {
  const off = { 'networkservicemesh.io/inject': 'off' }
  const annotations = { 'networkservicemesh.io': 'kernel://service/nsm-1', ...off }
  const message =
    /networkservicemesh\.io\/inject of the pod or its namespace must be enabled or disabled, not "off"/
  // API servers follow each policy by itself.
  await waitFor('a policy that is followed', async () =>
    made({ labels: off }).then(
      () => false,
      () => true,
    ),
  )
  await t.rejects(made({ labels: off }), { message })
  await t.rejects(made({ annotations }), { message })
  t.equal(
    (await made({ labels: { 'networkservicemesh.io/inject': 'enabled' } })).spec.initContainers?.length,
    1,
  )
  t.equal((await made({ labels: off, annotations: {} })).spec.initContainers, undefined, 'nobody asked')
})

t.test('whoever opts out or does not ask stays as it was', async (t) => {
  const optedOut = { labels: { 'networkservicemesh.io/inject': 'disabled' } }
  for (const metadata of [optedOut, { annotations: {} }]) {
    const { spec } = await made(metadata)
    t.equal(spec.initContainers, undefined)
    t.equal(spec.readinessGates, undefined)
  }
})
