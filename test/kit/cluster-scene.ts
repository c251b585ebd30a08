import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { status, testApiServer, type SeenCall, type TestApiServer } from './api-server.js'
import { makeCertificate } from './certificate.js'

/** A cluster as the API server shows it, with a mesh in good order; tests change what they need. */
export interface ClusterScene {
  readonly server: TestApiServer
  /** Path of a kubeconfig that leads to it. */
  readonly kubeconfig: string
  /** Answers of pods through the API server: `namespace/pod/path` → JSON or text; an Error is what comes with status 503. */
  readonly proxied: Map<string, unknown>
  /** Logs: `namespace/pod/container` → text. */
  readonly logs: Map<string, string>
  /** Calls that are refused for lack of rights, by `METHOD path`. */
  forbidden: RegExp | undefined
  /** What the API server makes of a pod in a dry run. */
  admission: (pod: KubernetesObject) => KubernetesObject | { readonly refused: string }
  /** Puts an object into a collection such as `/api/v1/pods`. */
  put(collection: string, object: KubernetesObject): void
  remove(collection: string, namespace: string | undefined, name: string): void
}

export const pods = '/api/v1/pods'
export const ago = (ms: number): string => new Date(Date.now() - ms).toISOString()
/** Ages are told in whole hours: half an hour more leaves a slow machine its time. */
const hour = 3_600_000
const half = hour / 2

/** Starts one; it is gone when the test ends. */
export async function clusterScene(t: Test): Promise<ClusterScene> {
  const server = await testApiServer()
  const folder = mkdtempSync(join(tmpdir(), 'nsm-scene-'))
  const kubeconfig = join(folder, 'config')
  writeFileSync(kubeconfig, stringify(kubeconfigOf(server)))
  t.teardown(async () => {
    rmSync(folder, { recursive: true })
    await server.stop()
  })
  const scene: ClusterScene = {
    server,
    kubeconfig,
    proxied: new Map(),
    logs: new Map(),
    forbidden: undefined,
    admission: (pod) => ({
      ...pod,
      spec: { ...(pod['spec'] as object), initContainers: [sidecar('kernel://nsm-check/nsm-1')] },
    }),
    put: (collection, object) => void server.store.put(collection, object),
    remove: (collection, namespace, name) => void server.store.remove(collection, namespace, name),
  }
  server.intercept = (call, res) => intercept(scene, call, res)
  return scene
}

function kubeconfigOf({ port, ca }: TestApiServer): object {
  const cluster = {
    server: `https://localhost:${port}`,
    'certificate-authority-data': Buffer.from(ca).toString('base64'),
  }
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'scene',
    clusters: [{ name: 'scene', cluster }],
    users: [{ name: 'ann', user: { token: 'secret' } }],
    contexts: [{ name: 'scene', context: { cluster: 'scene', user: 'ann', namespace: 'demo' } }],
  }
}

function intercept(
  scene: ClusterScene,
  call: SeenCall,
  res: Parameters<NonNullable<TestApiServer['intercept']>>[1],
): boolean {
  const { method, path, query, body } = call
  const ok = (value: unknown): true => {
    res.writeHead(200).end(typeof value === 'string' ? value : JSON.stringify(value))
    return true
  }
  if (scene.forbidden?.test(`${method} ${path}`) === true) {
    status(res, 403, 'Forbidden', `it is forbidden: User "ann" cannot get resource at ${path}`)
    return true
  }
  if (path === '/version') return ok({ major: '1', minor: '37', gitVersion: 'v1.37.2' })
  const [, namespace = '', pod = '', rest] =
    /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/:]+):\d+\/proxy\/(.*)$/.exec(path) ?? []
  if (rest !== undefined) {
    const found = scene.proxied.get(`${namespace}/${pod}/${rest}`)
    if (found !== undefined && !(found instanceof Error)) return ok(found)
    if (found === undefined)
      status(
        res,
        503,
        'ServiceUnavailable',
        'error trying to reach service: dial tcp: connect: connection refused',
      )
    else res.writeHead(503).end(found.message)
    return true
  }
  const [, within = '', logged] = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/log$/.exec(path) ?? []
  if (logged !== undefined) return ok(scene.logs.get(`${within}/${logged}/${query['container']}`) ?? '')
  if (method === 'POST' && query['dryRun'] === 'All') {
    const answer = scene.admission(body as KubernetesObject)
    if ('refused' in answer) status(res, 403, 'Forbidden', String(answer.refused))
    else ok(answer)
    return true
  }
  return false
}

/** A CA certificate, PEM, that is valid for so long from now on. */
export function authority(subject: string, lifeMs: number, ageMs: number = 40 * 86_400_000): string {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  return makeCertificate({
    subject,
    issuer: subject,
    key,
    signingKey: key,
    notBefore: new Date(Date.now() - ageMs),
    notAfter: new Date(Date.now() + lifeMs),
    uris: [],
    dnsNames: [],
    ca: true,
    usages: ['keyCertSign'],
    usagesCritical: true,
    extendedUsages: [],
    extensions: [],
  }).toString()
}

/** The container that the webhook adds. */
export function sidecar(services: string, image = 'example.com/nsm/sidecar:1.0'): object {
  return {
    name: 'sidecar',
    image,
    restartPolicy: 'Always',
    env: [
      { name: 'SPIFFE_ENDPOINT_SOCKET', value: 'unix:///run/spire/sockets/agent.sock' },
      { name: 'NSM_NETWORK_SERVICES', value: services },
      { name: 'NSM_OPS_LISTEN_ON', value: ':9080' },
    ],
  }
}

/** A running pod of namespace `demo`; with services, one that has a sidecar. */
export function podOf(name: string, services?: string, node = 'node-1'): KubernetesObject {
  const running = { ready: true, restartCount: 0, state: { running: {} } }
  return {
    metadata: {
      name,
      namespace: 'demo',
      uid: `uid-${name}`,
      ...(services === undefined ? {} : { annotations: { 'networkservicemesh.io': services } }),
    },
    spec: {
      nodeName: node,
      ...(services === undefined ? {} : { initContainers: [sidecar(services)] }),
      containers: [{ name: 'app', image: 'example.com/app:1' }],
    },
    status: {
      phase: 'Running',
      podIP: '10.244.0.9',
      conditions: [{ type: 'Ready', status: 'True' }],
      initContainerStatuses: services === undefined ? [] : [{ name: 'sidecar', ...running }],
      containerStatuses: [{ name: 'app', ...running }],
    },
  }
}

/** What the sidecar of a pod says; `changes` to its one connection. */
export function sidecarStatus(pod: string, changes: object = {}): object {
  const connection = {
    id: `${pod}-0`,
    networkService: 'postgres',
    labels: { app: 'replica' },
    state: 'UP',
    reason: 'Established',
    message: 'the first Request succeeded',
    since: ago(10 * hour + half),
    endpoint: 'postgres-1',
    interface: 'nsm-1',
    mechanism: 'KERNEL',
    payload: 'ETHERNET',
    addresses: ['172.16.1.97/32'],
    endpointAddresses: ['172.16.1.96/32'],
    routes: [{ prefix: '172.16.1.96/32', nextHop: null }],
    mtu: 1_500,
    dns: [],
    expires: new Date(Date.now() + 9 * hour + half).toISOString(),
    requestMs: 12.345,
    path: [
      {
        name: pod,
        id: 'a',
        spiffeId: `spiffe://k8s.nsm/ns/demo/pod/${pod}`,
        ms: 1.25,
        expires: null,
        metrics: {},
      },
      { name: 'nsmgr-node-1', id: 'b', spiffeId: null, ms: null, expires: null, metrics: {} },
    ],
    requests: { succeeded: 3, failed: 1 },
    heals: { count: 1, last: { at: ago(4 * hour + half), cause: 'DataPlaneLost', ms: 230 } },
    ...changes,
  }
  return {
    name: pod,
    spiffeId: `spiffe://k8s.nsm/ns/demo/pod/${pod}`,
    ready: true,
    connections: [connection],
    dns: {
      mode: 'embedded',
      state: 'idle',
      message: 'no service brings names',
      zones: [],
      search: [],
      servers: [],
    },
  }
}
