import { X509Certificate } from 'node:crypto'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import t from 'tap'
import { until } from '../kit/until.ts'
import { CommandError } from './harness/command.ts'
import { otherInjector } from './other-injector.ts'
import { configurationName, release, webhookWorld } from './webhook-world.ts'

const world = await webhookWorld(t)
const { client, kubectl } = world
const configurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'
const secret = `/api/v1/namespaces/${release}/secrets/nsm-webhook-ca`
const key = 'networkservicemesh.io'
const url = 'kernel://db/nsm-1'
const [first, second] = await Promise.all([world.replica(), world.replica()])

interface Pod extends KubernetesObject {
  readonly spec: {
    readonly initContainers?: readonly { readonly name: string }[]
    readonly containers: readonly { readonly name: string; readonly image: string }[]
    readonly volumes?: readonly { readonly name: string; readonly csi?: unknown }[]
  }
}

function podOf(name: string, annotations: Record<string, string>, spec: object = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, annotations },
    spec: { containers: [{ name: 'app', image: 'example.com/app:1' }], ...spec },
  }
}

async function make(namespace: string, pod: Pod): Promise<Pod> {
  return client.create(`/api/v1/namespaces/${namespace}/pods`, pod)
}

const names = (pod: Pod): string[] => (pod.spec.initContainers ?? []).map(({ name }) => name)
const reviews = async (): Promise<number> => (await first.reviews()) + (await second.reviews())

async function bundles(): Promise<string[]> {
  const { webhooks } = (await client.get(`${configurations}/${configurationName}`)) as unknown as {
    webhooks: { clientConfig: { caBundle?: string } }[]
  }
  return webhooks.map(({ clientConfig: { caBundle = '' } }) => Buffer.from(caBundle, 'base64').toString())
}

t.test('two replicas that start at once on an empty Secret: one authority, in both webhooks', async (t) => {
  const { data } = (await client.get(secret)) as unknown as { data: Record<string, string> }
  t.equal(Object.keys(data).length, 2)
  const [one, other] = await bundles()
  t.ok(new X509Certificate(one ?? '').ca)
  t.equal(one, other)
  t.ok((await first.isReady()) && (await second.isReady()))
})

t.test('a pod that asks is injected; one that does not is never shown to the webhook for pods', async (t) => {
  await world.namespace('own')
  t.same(names(await make('own', podOf('asks', { [key]: url }))), ['sidecar'])
  t.same(names(await make('own', podOf('silent', {}))), [])
  const before = await reviews()
  const out = { [key]: url, [`${key}/inject`]: 'disabled' }
  t.same(names(await make('own', podOf('opted-out', out))), [])
  t.equal(await reviews(), before, 'the conditions hold it back')
})

t.test('a malformed annotation is refused with its place and an example', async (t) => {
  await t.rejects(make('own', podOf('typo', { [key]: 'kernal://db' })), {
    message: /position 0.*for example kernel:\/\/my-service\/nsm-1/,
  })
})

t.test('the annotation of a namespace counts from the moment it is there', async (t) => {
  for (let i = 0; i < 5; i++) {
    await world.namespace(`fresh-${i}`, { annotations: { [key]: url } })
    t.same(names(await make(`fresh-${i}`, podOf('p', {}))), ['sidecar'])
  }
  await world.namespace('off', { annotations: { [key]: url }, labels: { [`${key}/inject`]: 'disabled' } })
  const before = await reviews()
  t.same(names(await make('off', podOf('p', {}))), [])
  t.same(names(await make('off', podOf('q', { [key]: url }))), [])
  t.equal(await reviews(), before, 'a namespace that says no is not shown at all')
})

for (const level of ['restricted', 'baseline', 'privileged']) {
  t.test(`Pod Security level ${level} admits what is injected`, async (t) => {
    await world.namespace(level, { labels: { 'pod-security.kubernetes.io/enforce': level } })
    const securityContext = {
      allowPrivilegeEscalation: false,
      runAsNonRoot: true,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    }
    const containers = [{ name: 'app', image: 'a', securityContext }]
    t.same(names(await make(level, podOf('p', { [key]: url }, { containers }))), ['sidecar'])
  })
}

t.test(
  'a dry run gets the same and tells nobody; a real one tells the owner why it was left alone',
  async (t) => {
    await world.namespace('dry')
    const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'rs', uid: 'b2c1', controller: true }
    const pod = podOf('p', { [key]: url })
    const manifest = { ...pod, metadata: { ...pod.metadata, namespace: 'dry' } }
    const shown = JSON.parse(
      await kubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], manifest),
    ) as Pod
    t.same(names(shown), ['sidecar'])
    const empty = podOf('empty', { [key]: '' })
    const owned = { ...empty, metadata: { ...empty.metadata, ownerReferences: [owner] } }
    const events = '/api/v1/namespaces/dry/events'
    const told = async (): Promise<{ involvedObject: object; reason: string; count: number }[]> =>
      (
        (await client.get(events)) as unknown as {
          items: { involvedObject: object; reason: string; count: number }[]
        }
      ).items
    await client.create('/api/v1/namespaces/dry/pods?dryRun=All', owned)
    await client.create('/api/v1/namespaces/dry/pods', owned)
    await until('the owner is told', async () => (await told()).length > 0)
    t.match(await told(), [
      {
        involvedObject: { kind: 'ReplicaSet', name: 'rs', uid: 'b2c1' },
        reason: 'NetworkServiceInjectionSkipped',
        message: /is empty/,
        count: 1,
      },
    ])
  },
)

t.test('an injected pod that is edited and applied again stays as it is', async (t) => {
  const pod = podOf('again', { [key]: url })
  const manifest = { ...pod, metadata: { ...pod.metadata, namespace: 'own' } }
  await kubectl(['apply', '-f', '-'], manifest)
  t.match(await kubectl(['apply', '-f', '-'], manifest), 'unchanged')
  const edited = { ...manifest, metadata: { ...manifest.metadata, labels: { edited: 'yes' } } }
  t.match(await kubectl(['apply', '-f', '-'], edited), 'configured')
  const found = await client.get<Pod>('/api/v1/namespaces/own/pods/again')
  t.same(names(found), ['sidecar'])
  t.equal(found.metadata.labels?.['edited'], 'yes')
})

for (const [order, expected] of [
  ['first', ['sidecar', 'other-proxy']],
  ['last', ['other-proxy', 'sidecar']],
] as const) {
  t.test(`another injector that is asked ${order}`, async (t) => {
    const namespace = `others-${order}`
    await world.namespace(namespace)
    await otherInjector(t, world, {
      name: order === 'first' ? 'a.example.com' : 'z.example.com',
      namespace,
    })
    const made = await make(namespace, podOf('p', { [key]: url }))
    t.same(names(made), expected)
    t.equal(made.spec.containers.length, 1)
    const volumes = (made.spec.volumes ?? []).map(({ name }) => name)
    t.equal(volumes.length, new Set(volumes).size)
  })
}

t.test('a LimitRange that asks for more than the sidecar has: an annotation of the pod helps', async (t) => {
  await world.namespace('limits')
  const limits = { limits: [{ type: 'Container', min: { cpu: '50m' }, default: { cpu: '1' } }] }
  const meta = { name: 'x', namespace: 'limits' }
  await kubectl(['apply', '-f', '-'], {
    apiVersion: 'v1',
    kind: 'LimitRange',
    metadata: meta,
    spec: limits,
  })
  await t.rejects(make('limits', podOf('p', { [key]: url })), {
    message: /minimum cpu usage per Container is 50m/,
  })
  const more = { [key]: url, [`${key}/sidecar-cpu-request`]: '50m' }
  t.same(names(await make('limits', podOf('p', more))), ['sidecar'])
})

t.test('a quota that wants requests and limits of every container is met', async (t) => {
  await world.namespace('quota')
  const meta = { name: 'x', namespace: 'quota' }
  const hard = { 'requests.cpu': '1', 'requests.memory': '1Gi', 'limits.cpu': '1', 'limits.memory': '1Gi' }
  await kubectl(['apply', '-f', '-'], {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: meta,
    spec: { hard },
  })
  // Nobody counts here: a controller would.
  await client.patch(
    '/api/v1/namespaces/quota/resourcequotas/x/status',
    { status: { hard, used: Object.fromEntries(Object.keys(hard).map((name) => [name, '0'])) } },
    'merge',
  )
  const resources = { requests: { cpu: '10m', memory: '8Mi' }, limits: { cpu: '10m', memory: '8Mi' } }
  const containers = [{ name: 'app', image: 'a', resources }]
  t.same(names(await make('quota', podOf('p', { [key]: url }, { containers }))), ['sidecar'])
})

t.test('a caBundle that somebody takes out is put back', async (t) => {
  const before = await bundles()
  const json = [{ op: 'remove', path: '/webhooks/0/clientConfig/caBundle' }]
  await client.patch(`${configurations}/${configurationName}`, json, 'json')
  await until('it is back', async () => (await bundles())[0] === before[0])
  t.same(names(await make('own', podOf('after-removal', { [key]: url }))), ['sidecar'])
})

t.test(
  'a Secret that is emptied: both replicas go over to a new authority, pods are injected on',
  async (t) => {
    const [before] = await bundles()
    await client.patch(secret, [{ op: 'remove', path: '/data' }], 'json')
    await until('there is another bundle', async () => (await bundles()).every((one) => one !== before))
    let [made, tried] = [0, 0]
    await until('pods are injected ten times in turn', async () => {
      const pod = podOf(`new-authority-${tried++}`, { [key]: url })
      made = await make('own', pod).then(
        () => made + 1,
        () => 0,
      )
      return made === 10
    })
    t.ok((await first.isReady()) && (await second.isReady()))
  },
)

t.test('an API server that comes back finds the webhook, and the webhook what has changed', async (t) => {
  await world.stopApiServer()
  t.ok(await first.isReady(), 'what it knows it goes on knowing')
  await world.startApiServer()
  await world.namespace('after', { annotations: { [key]: url } })
  await until('a pod there is injected', async () => {
    const pod = await make('after', podOf(`p${Date.now()}`, {})).catch(() => undefined)
    return pod !== undefined && names(pod).includes('sidecar')
  })
})

t.test('no replica: pods that did not ask start, those that did get a clear error', async (t) => {
  await Promise.all([first.stop(), second.stop()])
  t.same(names(await make('own', podOf('silent-too', {}))), [])
  t.same(names(await make('own', podOf('out-too', { [key]: url, [`${key}/inject`]: 'disabled' }))), [])
  await t.rejects(make('own', podOf('asks-too', { [key]: url })), {
    message: /failed calling webhook "pod\.nsm-mutating-webhook\.networkservicemesh\.io"/,
  })
  const refused = await kubectl(['create', '-f', '-'], {
    ...podOf('lives-there', {}),
    metadata: { name: 'lives-there', namespace: 'fresh-0' },
  }).catch((err: unknown) => err)
  t.ok(refused instanceof CommandError)
  t.match((refused as CommandError).stderr, /asks for network services .* but nothing was injected/)
  const third = await world.replica()
  t.ok(await third.isReady())
  await until('asked pods start again', async () =>
    make('own', podOf('asks-again', { [key]: url })).then(
      (pod) => names(pod).includes('sidecar'),
      () => false,
    ),
  )
})
