import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Test } from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { run } from './harness/command.ts'
import type { Layout } from './harness/layout.ts'
import { checkout, type Tools } from './harness/tools.ts'
import { ownApiServer, type RestartableApiServer } from './own-api-server.ts'

/** The release's namespace. */
export const release = 'nsm-system'
export const configurationName = 'nsm-mutating-webhook.networkservicemesh.io'
const program = fileURLToPath(new URL('../../../webhook/dist/main.js', import.meta.url))

/** One process of the webhook, called by the API server through the Service. */
export interface Replica {
  /** How many reviews it has answered. */
  reviews(): Promise<number>
  isReady(): Promise<boolean>
  /** Ends it and takes it out of the Service. */
  stop(): Promise<void>
}

/** An API server of its own with the chart's webhook configuration, policies and rights. Pods are made and never run. */
export interface WebhookWorld extends RestartableApiServer {
  readonly client: ApiClient
  /** Address of this machine that the API server reaches. */
  readonly address: string
  kubectl(args: readonly string[], input?: unknown): Promise<string>
  /** Starts a replica with the chart's variables and rights; resolves when it is ready. */
  replica(): Promise<Replica>
  /** A namespace where pods can be made. */
  namespace(name: string, metadata?: object): Promise<void>
}

export async function webhookWorld(t: Test): Promise<WebhookWorld> {
  const own = await ownApiServer(t, 'webhook')
  const { layout, client, restart } = own
  const { hostAddress: address } = layout
  const kubectl = async (args: readonly string[], input?: unknown): Promise<string> =>
    own.kubectl(args, input === undefined ? '' : JSON.stringify(input))
  const namespace = async (one: string, metadata: object = {}): Promise<void> => {
    await client.create('/api/v1/namespaces', object('v1', 'Namespace', { name: one, ...metadata }))
    // Nobody else makes it here.
    const account = object('v1', 'ServiceAccount', { name: 'default', namespace: one })
    await client.create(`/api/v1/namespaces/${one}/serviceaccounts`, account)
  }
  await namespace(release)
  const { applied, env } = await chartParts(own.tools)
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'List', items: applied })
  const folder = await mkdtemp(join(tmpdir(), 'nsm-webhook-world-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const access = await accountConfig(client, layout, folder)
  let replicas = 0
  return {
    ...restart,
    client,
    address,
    kubectl,
    namespace,
    replica: async () => {
      replicas += 1
      return startReplica(t, { client, address, number: replicas, env: { ...env, KUBECONFIG: access } })
    },
  }
}

function object(
  apiVersion: string,
  kind: string,
  metadata: KubernetesObject['metadata'],
  more: object = {},
): KubernetesObject {
  return { apiVersion, kind, metadata, ...more }
}

/** What of the chart is the webhook's, without its pods; and the variables of those. */
async function chartParts(
  tools: Tools,
): Promise<{ applied: readonly KubernetesObject[]; env: Readonly<Record<string, string>> }> {
  const chart = join(checkout, 'charts/nsm')
  const text = await run([
    tools.helm,
    ...['template', 'nsm', chart, '--namespace', release, '--kube-version', '1.37.0'],
  ])
  const all = parseAllDocuments(text)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((one) => one?.metadata.labels?.['app.kubernetes.io/component'] === 'webhook')
    .filter((one) => one !== null)
  const left = ['Deployment', 'Service', 'NetworkPolicy', 'PodDisruptionBudget']
  const deployment = all.find(({ kind }) => kind === 'Deployment') as unknown as {
    spec: { template: { spec: { containers: { env: { name: string; value?: string }[] }[] } } }
  }
  const [container] = deployment.spec.template.spec.containers
  const env = (container?.env ?? []).flatMap(({ name, value }) =>
    value === undefined ? [] : [[name, value]],
  )
  const service = object(
    'v1',
    'Service',
    { name: 'webhook', namespace: release },
    { spec: { ports: [{ name: 'https', port: 443 }] } },
  )
  return {
    applied: [...all.filter(({ kind }) => !left.includes(kind ?? '')), service],
    env: Object.fromEntries(env) as Record<string, string>,
  }
}

/** A kubeconfig with the rights of the webhook's service account and no others. */
async function accountConfig(client: ApiClient, layout: Layout, folder: string): Promise<string> {
  const path = `/api/v1/namespaces/${release}/serviceaccounts/webhook/token`
  const request = object(
    'authentication.k8s.io/v1',
    'TokenRequest',
    {},
    { spec: { expirationSeconds: 7_200 } },
  )
  const { status } = (await client.create(path, request)) as unknown as { status: { token: string } }
  const config = parse(await readFile(layout.kubeconfig, 'utf8')) as { users: { user: unknown }[] }
  const file = join(folder, 'kubeconfig')
  const users = config.users.map((one) => ({ ...one, user: { token: status.token } }))
  await writeFile(file, JSON.stringify({ ...config, users }), { mode: 0o600 })
  return file
}

interface ReplicaInput {
  readonly client: ApiClient
  readonly address: string
  readonly number: number
  readonly env: Readonly<Record<string, string>>
}

async function startReplica(t: Test, { client, address, number, env }: ReplicaInput): Promise<Replica> {
  const child = spawn(process.execPath, [program], {
    env: { ...env, NSM_LISTEN_ON: `${address}:0`, NSM_OPS_LISTEN_ON: '127.0.0.1:0', NSM_DRAIN: '0s' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let listening: { port: number; ops: string } | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as { msg: string; port: number; ops: string }
    if (said.msg === 'listening') listening = said
    if (said.msg === 'ready') break
  }
  child.stdout.resume()
  if (listening === undefined) throw new Error('the webhook ended before it listened')
  const { port, ops } = listening
  const slices = `/apis/discovery.k8s.io/v1/namespaces/${release}/endpointslices`
  const slice = { name: `webhook-${number}`, labels: { 'kubernetes.io/service-name': 'webhook' } }
  await client.create(
    slices,
    object('discovery.k8s.io/v1', 'EndpointSlice', slice, {
      addressType: 'IPv4',
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
      ports: [{ name: 'https', port, protocol: 'TCP' }],
    }),
  )
  return {
    reviews: async () => {
      const text = await (await fetch(`${ops}/metrics`)).text()
      const counts = text.matchAll(/^nsm_webhook_requests_total\{.*\} (\d+)$/gm)
      return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
    },
    isReady: async () => (await fetch(`${ops}/readyz`)).status === 200,
    stop: async () => {
      await client.delete(`${slices}/${slice.name}`)
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}
