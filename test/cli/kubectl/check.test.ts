import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import t, { type Test } from 'tap'
import { client, endpointOf, endpoints, eventOf, installMesh, services } from '../../kit/cluster-mesh.js'
import { ago, authority, clusterScene, podOf, pods, type ClusterScene } from '../../kit/cluster-scene.js'
import { matchesGolden } from '../../kit/golden.js'
import { kubectlNsm } from '../../kit/kubectl-nsm.js'

const golden = new URL('../../../cli/kubectl/golden/', import.meta.url)
const configurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'
const configuration = 'nsm-mutating-webhook.networkservicemesh.io'
const release = 'nsm-system'

interface Scene extends ClusterScene {
  /** Changes an object that is there. */
  change(
    collection: string,
    place: readonly [string | undefined, string],
    to: (old: KubernetesObject) => object,
  ): void
}

async function mesh(t: Test): Promise<Scene> {
  const scene = await clusterScene(t)
  installMesh(scene)
  return Object.assign(scene, {
    change(
      collection: string,
      [namespace, name]: readonly [string | undefined, string],
      to: (old: KubernetesObject) => object,
    ) {
      const old = scene.server.store.get(collection, namespace, name)
      if (old === undefined) throw new Error(`no ${name} in ${collection}`)
      const { resourceVersion: _, ...metadata } = old.metadata
      scene.put(collection, { ...old, metadata, ...to(old) })
    },
  })
}

/** Lines that are no ✓, each with its hint. */
function troubles(out: string): string {
  return out.replaceAll(/^ {2}✓.*\n/gm, '').replaceAll(/^\w[\w ]*\n\n/gm, '')
}

t.test('a mesh in good order', async (t) => {
  const scene = await mesh(t)
  const { out, code, error } = await kubectlNsm(scene, ['check'])
  t.equal(error, '')
  t.equal(code, 0, out)
  matchesGolden(t, new URL('check-good.txt', golden), out)
})

t.test('an empty cluster, and how to install', async (t) => {
  const { out, code } = await kubectlNsm(await clusterScene(t), ['check'])
  t.equal(code, 1)
  matchesGolden(t, new URL('check-empty.txt', golden), out)
})

t.test('without a webhook it is a policy that injects, or nobody', async (t) => {
  const scene = await mesh(t)
  scene.remove('/apis/apps/v1/deployments', release, 'webhook')
  const orphan = await kubectlNsm(scene, ['check'])
  t.match(orphan.out, '✗ there is no webhook, but its configuration')
  scene.remove(configurations, undefined, configuration)
  const nobody = await kubectlNsm(scene, ['check'])
  t.match(nobody.out, /✗ there is no webhook configuration .*: no pod gets a sidecar\n/)
  t.equal(nobody.code, 1)
  scene.put('/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies', {
    metadata: { name: 'nsm-inject.networkservicemesh.io' },
  })
  const policy = await kubectlNsm(scene, ['check'])
  t.match(policy.out, '✓ there is none: API servers inject by themselves (injection.by: policy)')
  t.equal(policy.code, 0, policy.out)
})

t.test('a cluster that does not answer is one fault', async (t) => {
  const scene = await clusterScene(t)
  await scene.server.stop()
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 1)
  t.match(out, /^Cluster\n {2}✗ could not look at the cluster: .*localhost.*\n\n✗ 1 fault\n$/)
  await scene.server.start()
})

t.test('as JSON', async (t) => {
  const scene = await mesh(t)
  scene.remove('/apis/apps/v1/deployments', release, 'registry')
  const { out, code } = await kubectlNsm(scene, ['check', '-o', 'json'])
  t.equal(code, 1)
  const { ok, sections } = JSON.parse(out) as {
    ok: boolean
    sections: { title: string; findings: { level: string; text: string; hint: string }[] }[]
  }
  t.equal(ok, false)
  t.match(sections.find(({ title }) => title === 'Installation')?.findings, [
    { level: 'ok' },
    ...Array.from({ length: 5 }, () => ({ level: 'ok' })),
    { level: 'fault', text: 'there is no registry', hint: /helm upgrade/ },
  ])
})

t.test('what is broken in the installation, the webhook and the identities', async (t) => {
  const scene = await mesh(t)
  scene.change('/apis/apps/v1/daemonsets', [release, 'forwarder'], () => ({
    status: { desiredNumberScheduled: 2, numberReady: 1, updatedNumberScheduled: 2 },
  }))
  scene.change(pods, [release, 'forwarder-node-2'], () => ({
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'False' }],
      containerStatuses: [
        {
          name: 'forwarder',
          ready: false,
          restartCount: 4,
          state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } },
        },
      ],
    },
  }))
  scene.change('/apis/apps/v1/deployments', [release, 'webhook'], ({ spec }) => ({
    spec: { ...(spec as object), replicas: 0 },
    status: {},
  }))
  scene.change(configurations, [undefined, configuration], ({ webhooks }) => ({
    webhooks: (webhooks as { clientConfig: object }[]).map((one) => ({
      ...one,
      clientConfig: {
        ...one.clientConfig,
        caBundle: Buffer.from(authority('CN=other', 86_400_000 * 3.5)).toString('base64'),
      },
    })),
  }))
  scene.change('/apis/discovery.k8s.io/v1/endpointslices', [release, 'webhook-1'], () => ({
    endpoints: null,
  }))
  scene.admission = () => ({
    refused: `failed calling webhook "pod.${configuration}": no endpoints available for service "webhook"`,
  })
  scene.change('/api/v1/secrets', [release, 'nsm-authority'], () => ({ data: undefined }))
  const late = { name: 'nsmgr', ready: false, restartCount: 0, state: { running: {} } }
  scene.change(pods, [release, 'nsmgr-node-2'], () => ({
    status: { phase: 'Running', conditions: [], containerStatuses: [late] },
  }))
  const reasons =
    '[+]identity ok\n[-]registry failed: no session to tcp://registry:5002 within 5s\nnot ready\n'
  scene.proxied.set(`${release}/nsmgr-node-2/readyz`, new Error(reasons))
  scene.proxied.set(
    `${release}/nsmgr-node-1/metrics`,
    `nsm_svid_expiry_timestamp_seconds ${Date.now() / 1_000 - 3.5 * 3_600}\n`,
  )
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 1)
  matchesGolden(t, new URL('check-broken.txt', golden), troubles(out))
})

t.test('what is worth a look', async (t) => {
  const scene = await mesh(t)
  scene.change('/apis/apps/v1/deployments', [release, 'prefixes'], ({ spec }) => ({
    spec: JSON.parse(JSON.stringify(spec).replace('prefixes:1.0', 'prefixes:0.9')) as object,
  }))
  scene.put('/api/v1/nodes', {
    metadata: { name: 'node-3', labels: { 'kubernetes.io/os': 'windows' } },
    status: { nodeInfo: {} },
  })
  scene.change(configurations, [undefined, configuration], ({ webhooks }) => ({
    webhooks: (webhooks as object[]).map((one) => ({ ...one, failurePolicy: 'Ignore' })),
  }))
  scene.put(services, { metadata: { name: 'unserved', namespace: 'demo' } })
  scene.put(endpoints, endpointOf('old-1', 'postgres', -150_000))
  scene.put(endpoints, endpointOf('cache-1', 'cache', 60_000))
  scene.change(
    '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    [undefined, 'networkservices.networkservicemesh.io'],
    () => ({
      spec: { versions: [{ name: 'v1', served: true }] },
    }),
  )
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 0, 'no fault')
  matchesGolden(t, new URL('check-warnings.txt', golden), troubles(out))
})

t.test('parts that let no API server in are well all the same', async (t) => {
  const scene = await mesh(t)
  for (const key of scene.proxied.keys()) if (key.endsWith('/metrics')) scene.proxied.delete(key)
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 0, out)
  matchesGolden(t, new URL('check-closed.txt', golden), troubles(out))
})

t.test('one that does not answer is said beside those that do', async (t) => {
  const scene = await mesh(t)
  scene.proxied.delete(`${release}/nsmgr-node-1/metrics`)
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 0, out)
  t.match(out, '✓ the identity that expires first, of 4 parts (registry-x), is valid for another 2h')
  t.match(out, "! 1 ready part of 5 can't be asked through the API server: nsmgr-node-1: ")
})

t.test('nodes on which a part is not meant to run', async (t) => {
  const scene = await mesh(t)
  const ready = { conditions: [{ type: 'Ready', status: 'True' }], nodeInfo: { kernelVersion: '5.4.0' } }
  for (const name of ['node-3', 'node-4']) scene.put('/api/v1/nodes', { metadata: { name }, status: ready })
  const outside = await kubectlNsm(scene, ['check'])
  t.equal(outside.code, 0, outside.out)
  t.match(outside.out, '✓ 2 of 4 nodes have a ready nsmgr, forwarder, agent\n')
  t.match(outside.out, '✓ no forwarder is meant to run on node-3, node-4: pods that ask for services')
  t.match(outside.out, '✓ kernels have all that is used: 6.18.5', 'nothing runs on the older ones')

  scene.change('/apis/apps/v1/daemonsets', [release, 'forwarder'], () => ({
    status: { desiredNumberScheduled: 3, numberReady: 2, updatedNumberScheduled: 3 },
  }))
  const { spec, ...pod } = scene.server.store.get(pods, release, 'forwarder-node-1') as KubernetesObject
  const { nodeName: _, ...rest } = spec as { nodeName: string }
  const matchFields = [{ key: 'metadata.name', operator: 'In', values: ['node-3'] }]
  const required = { nodeSelectorTerms: [{ matchFields }] }
  const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } }
  scene.put(pods, {
    ...pod,
    metadata: { namespace: release, name: 'forwarder-3', labels: pod.metadata.labels ?? {} },
    spec: { ...rest, affinity },
    status: { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', message: 'no room' }] },
  })
  const late = await kubectlNsm(scene, ['check'])
  t.equal(late.code, 1)
  t.match(late.out, '✗ node node-3 has no ready forwarder: pods there get no connections')
  t.match(late.out, '✓ no forwarder is meant to run on node-4: ')
})

t.test('injection is tried where pods are injected into', async (t) => {
  const scene = await mesh(t)
  const excluded = (...values: string[]): void =>
    scene.change(configurations, [undefined, configuration], ({ webhooks }) => ({
      webhooks: (webhooks as object[]).map((one) => ({
        ...one,
        namespaceSelector: {
          matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values }],
        },
      })),
    }))
  const tried = async (): Promise<string> => {
    const { out } = await kubectlNsm(scene, ['check'])
    return /^ {2}(.*(?:dry run|be tried).*)$/m.exec(out)?.[1] ?? ''
  }
  scene.change('/api/v1/namespaces', [undefined, 'demo'], ({ metadata }) => ({
    metadata: { ...metadata, labels: { 'networkservicemesh.io/inject': 'disabled' } },
  }))
  t.match(await tried(), /^✓ .*\(dry run in namespace default\)$/)
  scene.put('/api/v1/namespaces', { metadata: { name: 'apps' } })
  excluded(release, 'default')
  t.match(await tried(), /^✓ .*\(dry run in namespace apps\)$/)
  excluded(release, 'default', 'apps')
  t.equal(await tried(), '! injection can’t be tried: pods of all namespaces are left alone')
  scene.forbidden = /GET \/api\/v1\/namespaces$/
  t.equal(await tried(), '! injection can’t be tried: pods of all namespaces are left alone')
  excluded()
  t.match(await tried(), /^✓ .*\(dry run in namespace default\)$/, 'each may be looked at by itself')
})

t.test('where a policy injects, nobody is sent to a webhook', async (t) => {
  const scene = await mesh(t)
  scene.remove('/apis/apps/v1/deployments', release, 'webhook')
  scene.remove(configurations, undefined, configuration)
  scene.put('/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies', {
    metadata: { name: 'nsm-inject.networkservicemesh.io' },
  })
  const sentence =
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'nsm-injected.networkservicemesh.io' with binding 'nsm-injected.networkservicemesh.io' denied request: no sidecar"
  for (const admission of [(pod: KubernetesObject) => pod, () => ({ refused: sentence })]) {
    scene.admission = admission
    const { out, code } = await kubectlNsm(scene, ['check'])
    t.equal(code, 1)
    t.match(out, /✗ a pod that asks .*\n {6}→ kubectl describe mutatingadmissionpolicy nsm-inject\./)
    t.notMatch(out, 'logs webhook')
  }
})

t.test('pods that nsmgr has to believe', async (t) => {
  const scene = await mesh(t)
  const key = `${release}/nsmgr-node-2/metrics`
  scene.proxied.set(key, `${scene.proxied.get(key) as string}nsm_nsmgr_unverified_netns_total 3\n`)
  scene.change('/api/v1/nodes', [undefined, 'node-1'], ({ status }) => ({
    status: { ...(status as object), nodeInfo: { kernelVersion: '6.1.0-18' } },
  }))
  const believed = await kubectlNsm(scene, ['check'])
  t.equal(believed.code, 1)
  matchesGolden(t, new URL('check-believed.txt', golden), troubles(believed.out))
  scene.proxied.set(key, 'nsm_nsmgr_unverified_netns_total 0\n')
  const securityContext = { capabilities: { add: ['SYS_PTRACE', 'SYS_ADMIN'] } }
  const containers = [{ name: 'nsmgr', image: 'example.com/nsm/nsmgr:1.0', securityContext }]
  scene.change('/apis/apps/v1/daemonsets', [release, 'nsmgr'], () => ({
    spec: { template: { spec: { hostPID: true, containers } } },
  }))
  const seen = await kubectlNsm(scene, ['check'])
  t.equal(seen.code, 0, seen.out)
  t.match(seen.out, '✓ kernels before 6.5 on node-1')
})

t.test('short lives are no reason to worry', async (t) => {
  const scene = await mesh(t)
  const env = [{ name: 'NSM_SVID_TTL', value: '5m' }]
  scene.change('/apis/apps/v1/daemonsets', [release, 'agent'], () => ({
    spec: {
      template: { spec: { containers: [{ name: 'agent', image: 'example.com/nsm/agent:1.0', env }] } },
    },
  }))
  const lives = (ms: number): void => {
    const text = `nsm_svid_expiry_timestamp_seconds ${(Date.now() + ms) / 1_000}\n`
    for (const key of scene.proxied.keys()) if (key.endsWith('/metrics')) scene.proxied.set(key, text)
    const roots = authority('CN=k8s.nsm', 12.5 * 3_600_000, 11.5 * 3_600_000)
    scene.change('/api/v1/secrets', [release, 'nsm-authority'], () => ({
      data: { 'roots.pem': Buffer.from(roots).toString('base64') },
    }))
  }
  lives(150_000)
  const well = await kubectlNsm(scene, ['check'])
  t.match(well.out, '✓ the identity that expires first')
  t.match(well.out, "✓ the trust domain's newest root (of 1 root) is valid for another 12h\n")
  lives(60_000)
  const late = await kubectlNsm(scene, ['check'])
  t.match(late.out, '! the identity that expires first')
})

t.test('pods without what they asked for', async (t) => {
  const scene = await mesh(t)
  const lost = podOf('lost')
  scene.put(pods, {
    ...lost,
    metadata: { ...lost.metadata, annotations: { 'networkservicemesh.io': 'kernel://postgres' } },
  })
  const skipped = podOf('skipped')
  scene.put(pods, {
    ...skipped,
    metadata: {
      ...skipped.metadata,
      annotations: { 'networkservicemesh.io': 'kernel://postgres' },
      ownerReferences: [{ kind: 'ReplicaSet', name: 'db', uid: 'uid-db' }],
    },
  })
  scene.put(
    '/api/v1/events',
    eventOf(
      { kind: 'ReplicaSet', name: 'db', uid: 'uid-db' },
      'NetworkServiceInjectionSkipped',
      'nothing injected: host_network',
    ),
  )
  const asking = { 'networkservicemesh.io': 'kernel://postgres' }
  scene.put('/api/v1/namespaces', { metadata: { name: 'asks', annotations: asking } })
  for (const [name, more] of [
    ['early', {}],
    ['modest', { labels: { 'networkservicemesh.io/inject': 'disabled' } }],
  ] as const) {
    const { metadata, ...rest } = podOf(name)
    scene.put(pods, { ...rest, metadata: { ...metadata, ...more, namespace: 'asks' } })
  }
  scene.put('/api/v1/namespaces', {
    metadata: { name: 'closed', labels: { 'networkservicemesh.io/inject': 'disabled' } },
  })
  scene.put(pods, { ...lost, metadata: { ...lost.metadata, namespace: 'closed', annotations: asking } })
  const off = podOf('off')
  scene.put(pods, {
    ...off,
    metadata: {
      ...off.metadata,
      annotations: {
        'networkservicemesh.io': 'kernel://postgres',
        'networkservicemesh.io/inject': 'disabled',
      },
    },
  })
  client(scene, 'waits', {
    state: 'CONNECTING',
    reason: 'RequestFailed',
    message: 'no endpoint of postgres is registered',
    since: ago(3_600_000),
  })
  client(scene, 'young', {
    state: 'CONNECTING',
    reason: 'Requested',
    message: 'the first Request is on its way',
    since: ago(-3_600_000),
  })
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 1)
  matchesGolden(t, new URL('check-pods.txt', golden), troubles(out))
})

t.test('what the caller may not see is said, and is no fault of the mesh', async (t) => {
  const scene = await mesh(t)
  scene.forbidden = /secrets|nodes|customresourcedefinitions|proxy|dryRun/
  const { out, code } = await kubectlNsm(scene, ['check'])
  t.equal(code, 0, out)
  matchesGolden(t, new URL('check-rights.txt', golden), troubles(out))
})
