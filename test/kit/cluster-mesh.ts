import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { ago, authority, podOf, pods, sidecarStatus, type ClusterScene } from './cluster-scene.js'

const release = 'nsm-system'
const nodeNames = ['node-1', 'node-2']
const hourMs = 3_600_000
const dayMs = 24 * hourMs

/** Installs a mesh in good order: all parts on two nodes, and a service with an endpoint and a client. */
export function installMesh(scene: ClusterScene): void {
  for (const name of [release, 'kube-system', 'default']) namespace(scene, name)
  namespace(scene, 'demo', { 'networkservicemesh.io/inject': 'enabled' })
  for (const name of nodeNames) scene.put('/api/v1/nodes', nodeOf(name))
  for (const part of ['webhook', 'registry', 'prefixes']) deployment(scene, part)
  for (const part of ['nsmgr', 'forwarder', 'agent']) daemonSet(scene, part)
  webhook(scene)
  secret(scene, 'nsm-authority', { 'roots.pem': authority('CN=k8s.nsm', 6 * dayMs + dayMs / 2, dayMs / 2) })
  for (const plural of ['networkservices', 'networkserviceendpoints'])
    scene.put('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', definition(plural))
  scene.put(services, {
    metadata: { name: 'postgres', namespace: 'demo' },
    spec: {
      payload: 'ETHERNET',
      matches: [
        {
          source_selector: { app: 'replica' },
          routes: [{ destination_selector: { app: 'postgres' }, weight: 1 }],
        },
        { fallthrough: true },
      ],
    },
  })
  scene.put(endpoints, endpointOf('postgres-1', 'postgres', 3.5 * hourMs))
  client(scene, 'client-1')
}

export const services = '/apis/networkservicemesh.io/v1/networkservices'
export const endpoints = '/apis/networkservicemesh.io/v1/networkserviceendpoints'

/** A pod with a connection to `postgres`, and its sidecar's answer. */
export function client(scene: ClusterScene, name: string, changes: object = {}): void {
  scene.put(pods, podOf(name, 'kernel://postgres/nsm-1?app=replica'))
  scene.proxied.set(`demo/${name}/status`, sidecarStatus(name, changes))
}

/** As upstream's registry writes it. */
export function endpointOf(name: string, service: string, lifeMs: number): KubernetesObject {
  const seconds = (ms: number): object => ({ seconds: Math.floor((Date.now() + ms) / 1_000), nanos: 5 })
  return {
    metadata: { name, namespace: release },
    spec: {
      name,
      network_service_names: [service],
      network_service_labels: { [service]: { labels: { app: 'postgres' } } },
      url: 'tcp://10.0.0.1:5001',
      expiration_time: seconds(lifeMs),
      initial_registration_time: seconds(-30.5 * hourMs),
      path_ids: ['spiffe://k8s.nsm/ns/demo/pod/postgres-1'],
    },
  }
}

function namespace(scene: ClusterScene, name: string, labels: Readonly<Record<string, string>> = {}): void {
  scene.put('/api/v1/namespaces', { metadata: { name, labels } })
}

function nodeOf(name: string): KubernetesObject {
  return {
    metadata: { name, labels: { 'kubernetes.io/os': 'linux' } },
    status: {
      conditions: [{ type: 'Ready', status: 'True' }],
      nodeInfo: { kernelVersion: '6.18.5' },
    },
  }
}

function labelsOf(part: string): Readonly<Record<string, string>> {
  return {
    'helm.sh/chart': 'nsm-0.1.0',
    'app.kubernetes.io/name': 'nsm',
    'app.kubernetes.io/instance': 'mesh',
    'app.kubernetes.io/component': part,
    'app.kubernetes.io/version': '0.1.0',
  }
}

function templateOf(part: string): { readonly spec: { readonly containers: readonly object[] } } {
  const image = `example.com/nsm/${part}:1.0`
  const env =
    part === 'webhook' ? [{ name: 'NSM_CONTAINER_IMAGES', value: 'example.com/nsm/sidecar:1.0' }] : []
  const readinessProbe = { httpGet: { path: '/readyz', port: 'ops' } }
  const ports = [{ name: 'ops', containerPort: 8_080 }]
  return { spec: { containers: [{ name: part, image, env, readinessProbe, ports }] } }
}

function deployment(scene: ClusterScene, part: string): void {
  const replicas = part === 'webhook' ? 2 : 1
  scene.put('/apis/apps/v1/deployments', {
    metadata: { name: part, namespace: release, labels: labelsOf(part) },
    spec: { replicas, template: templateOf(part) },
    status: { replicas, readyReplicas: replicas, updatedReplicas: replicas },
  })
  for (let i = 0; i < replicas; i += 1) partPod(scene, part, `${part}-${'xyz'[i]}`, nodeNames[i] ?? '')
}

function daemonSet(scene: ClusterScene, part: string): void {
  scene.put('/apis/apps/v1/daemonsets', {
    metadata: { name: part, namespace: release, labels: labelsOf(part) },
    spec: { template: templateOf(part) },
    status: { desiredNumberScheduled: 2, numberReady: 2, updatedNumberScheduled: 2 },
  })
  for (const node of nodeNames) partPod(scene, part, `${part}-${node}`, node)
}

function partPod(scene: ClusterScene, part: string, name: string, nodeName: string): void {
  scene.put(pods, {
    metadata: { name, namespace: release, labels: labelsOf(part) },
    spec: { nodeName, ...templateOf(part).spec },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [{ name: part, ready: true, restartCount: 0, state: { running: {} } }],
    },
  })
  const at = (ms: number): number => (Date.now() + ms) / 1_000
  const metrics = [
    `# TYPE nsm_svid_expiry_timestamp_seconds gauge`,
    `nsm_svid_expiry_timestamp_seconds ${at(2.5 * hourMs)}`,
    ...(part === 'webhook' ? [`nsm_webhook_certificate_expiry_timestamp_seconds ${at(19.5 * hourMs)}`] : []),
  ]
  scene.proxied.set(`${release}/${name}/metrics`, `${metrics.join('\n')}\n`)
  scene.logs.set(`${release}/${name}/${part}`, `{"msg":"ready"}\n{"msg":"${name} works"}\n`)
}

function webhook(scene: ClusterScene): void {
  const ca = authority('CN=webhook', 300 * dayMs + dayMs / 2)
  secret(scene, 'nsm-webhook-ca', { 'ab12.crt': ca, 'ab12.key': 'not shown' })
  const service = { name: 'webhook', namespace: release, path: '/mutate', port: 443 }
  const clientConfig = { service, caBundle: Buffer.from(ca).toString('base64') }
  scene.put('/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations', {
    metadata: { name: 'nsm-mutating-webhook.networkservicemesh.io' },
    webhooks: [
      { name: 'pod.nsm-mutating-webhook.networkservicemesh.io', failurePolicy: 'Fail', clientConfig },
      { name: 'namespace.nsm-mutating-webhook.networkservicemesh.io', failurePolicy: 'Ignore', clientConfig },
    ],
  })
  scene.put('/apis/discovery.k8s.io/v1/endpointslices', {
    metadata: { name: 'webhook-1', namespace: release, labels: { 'kubernetes.io/service-name': 'webhook' } },
    endpoints: ['webhook-x', 'webhook-y'].map((name) => ({
      conditions: { ready: true },
      targetRef: { kind: 'Pod', name },
    })),
  })
}

function secret(scene: ClusterScene, name: string, data: Readonly<Record<string, string>>): void {
  const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')])
  scene.put('/api/v1/secrets', {
    metadata: { name, namespace: release },
    data: Object.fromEntries(encoded) as object,
  })
}

function definition(plural: string): KubernetesObject {
  const spec = { type: 'object', properties: { name: { type: 'string' } } }
  return {
    metadata: { name: `${plural}.networkservicemesh.io` },
    spec: {
      versions: [
        { name: 'v1', served: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec } } } },
      ],
    },
    status: {
      conditions: [
        { type: 'NamesAccepted', status: 'True' },
        { type: 'Established', status: 'True' },
      ],
    },
  }
}

/** An event about an object of namespace `demo`. */
export function eventOf(
  about: { readonly kind: string; readonly name: string; readonly uid?: string },
  reason: string,
  message: string,
  type = 'Normal',
): KubernetesObject {
  return {
    metadata: { generateName: 'event-', namespace: 'demo' },
    involvedObject: { namespace: 'demo', ...about },
    type,
    reason,
    message,
    count: 2,
    lastTimestamp: ago(2.5 * hourMs),
    source: { component: 'nsm-agent' },
  }
}
