import { type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { agentConfig } from '@nsm/agent/config.js'
import type { AttestationResult } from '@nsm/agent/identity/attest.js'
import { startIdentity, type NodeIdentity } from '@nsm/agent/identity/identity.js'
import { nodePods } from '@nsm/agent/node-pods.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { silent, type Logger } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { serverAndClient, type ServerAndClient } from '../../kit/api-client.ts'
import { noGroups, podGroups, type PodGroups } from '../../kit/own-cgroup.ts'
import { socketFolder } from '../../kit/socket-folder.ts'
import { until } from '../../kit/until.ts'

const pods = '/api/v1/pods'
const secrets = '/api/v1/secrets'
const workload = fileURLToPath(new URL('workload.js', import.meta.url))

interface Node {
  readonly identity: NodeIdentity
  readonly address: string
  readonly results: readonly AttestationResult[]
  readonly warnings: readonly unknown[]
}

async function cluster(t: Test): Promise<ServerAndClient> {
  const both = await serverAndClient(t)
  both.server.store.put(secrets, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'nsm-authority', namespace: 'nsm-system' },
  })
  return both
}

async function startNode(t: Test, { client }: ServerAndClient, nodeName = 'node-1'): Promise<Node> {
  const socket = join(socketFolder(t), 'agent.sock')
  const results: AttestationResult[] = []
  const warnings: unknown[] = []
  const log: Logger = {
    ...silent,
    warn: (fields, message) => void warnings.push({ ...fields, message }),
    child: () => log,
  }
  const known = nodePods(client, nodeName, silent)
  const identity = startIdentity({
    config: agentConfig.parse({ NODE_NAME: nodeName, NSM_IDENTITY_SOCKET: socket }),
    client,
    namespace: 'nsm-system',
    pods: known,
    log,
    attested: (result) => results.push(result),
  })
  t.teardown(async () => {
    await identity.close()
    known.close()
  })
  await until('identities are given', () => identity.problem === undefined)
  return { identity, address: `unix://${socket}`, results, warnings }
}

function pod(
  name: string,
  uid: string,
  more: Partial<KubernetesObject['metadata']> = {},
  nodeName = 'node-1',
): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid, ...more },
    spec: { nodeName },
  }
}

interface Workload {
  readonly child: ChildProcess
  /** What it has said so far. */
  readonly lines: readonly Readonly<Record<string, string>>[]
  next(): Promise<Readonly<Record<string, string>>>
}

function start(groups: PodGroups, uid: string, { address }: Node): Workload {
  const child = groups.spawnIn(uid, [process.execPath, workload], { SPIFFE_ENDPOINT_SOCKET: address })
  const lines: Record<string, string>[] = []
  let seen = 0
  createInterface({ input: child.stdout! }).on('line', (line) =>
    lines.push(JSON.parse(line) as Record<string, string>),
  )
  return {
    child,
    lines,
    async next() {
      await until('the workload says something', () => lines.length > seen)
      return lines[seen++]!
    },
  }
}

t.test(
  'a pod’s processes get the pod’s own identity, those of no pod get none',
  { skip: noGroups },
  async (t) => {
    const both = await cluster(t)
    const groups = podGroups(t)
    const [a, b, elsewhere] = [randomUUID(), randomUUID(), randomUUID()]
    both.server.store.put(pods, pod('a', a))
    both.server.store.put(pods, pod('b', b))
    both.server.store.put(pods, pod('c', elsewhere, {}, 'node-2'))
    const node = await startNode(t, both)
    t.match(await start(groups, a, node).next(), { id: 'spiffe://k8s.nsm/ns/default/pod/a' })
    t.match(await start(groups, b, node).next(), { id: 'spiffe://k8s.nsm/ns/default/pod/b' })
    t.match(await start(groups, elsewhere, node).next(), { code: 'PERMISSION_DENIED' })
    t.match(await start(groups, 'no-uid', node).next(), { code: 'PERMISSION_DENIED' })
    t.same([...node.results].sort(), ['identified', 'identified', 'refused', 'refused'])
    t.match(node.warnings, [
      { message: 'identity refused', why: `pod ${elsewhere} is none of this node's` },
      { message: 'identity refused', why: /process \d+ is in no pod/ },
    ])
  },
)

t.test(
  'a pod that is known only after its process asked gets its identity nevertheless',
  { skip: noGroups },
  async (t) => {
    const both = await cluster(t)
    const groups = podGroups(t)
    const node = await startNode(t, both)
    const uid = randomUUID()
    const early = start(groups, uid, node)
    // Long enough that it has asked on any machine where this test can fail at all; late enough is right on all others.
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    both.server.store.put(pods, pod('late', uid))
    await until('it is identified', () =>
      early.lines.some(({ id }) => id === 'spiffe://k8s.nsm/ns/default/pod/late'),
    )
  },
)

t.test('a static pod is known by the UID that its node gives it', { skip: noGroups }, async (t) => {
  const both = await cluster(t)
  const groups = podGroups(t)
  const hash = randomUUID().replaceAll('-', '')
  const annotations = { 'kubernetes.io/config.mirror': hash }
  both.server.store.put(pods, pod('not-kubelets', randomUUID(), { annotations }))
  both.server.store.put(
    pods,
    pod('etcd-node-1', randomUUID(), { annotations, ownerReferences: [{ kind: 'Node', name: 'node-1' }] }),
  )
  const node = await startNode(t, both)
  t.match(await start(groups, hash, node).next(), { id: 'spiffe://k8s.nsm/ns/default/pod/etcd-node-1' })
})

t.test(
  'parts on a node keep their identity from pod to pod; other DaemonSets’ pods have their own',
  { skip: noGroups },
  async (t) => {
    const both = await cluster(t)
    const groups = podGroups(t)
    const [old, next, other] = [randomUUID(), randomUUID(), randomUUID()]
    const ownerReferences = [{ kind: 'DaemonSet', name: 'forwarder', controller: true }]
    const system = { namespace: 'nsm-system', ownerReferences }
    both.server.store.put(pods, pod('forwarder-abcde', old, system))
    both.server.store.put(pods, pod('forwarder-fghij', next, system))
    both.server.store.put(pods, pod('forwarder-klmno', other, { ownerReferences }))
    const node = await startNode(t, both)
    const id = 'spiffe://k8s.nsm/ns/nsm-system/pod/forwarder-node-1'
    const first = start(groups, old, node)
    t.match(await first.next(), { id })
    const second = start(groups, next, node)
    t.match(await second.next(), { id })
    t.match(await start(groups, other, node).next(), {
      id: 'spiffe://k8s.nsm/ns/default/pod/forwarder-klmno',
    })
    both.server.store.remove(pods, 'nsm-system', 'forwarder-abcde')
    both.server.store.remove(pods, 'nsm-system', 'forwarder-fghij')
    t.match(await second.next(), { code: 'PERMISSION_DENIED' }, 'gone with the last of them')
  },
)

t.test(
  'a pod that is gone loses its identity; one of its name that comes after has it anew',
  { skip: noGroups },
  async (t) => {
    const both = await cluster(t)
    const groups = podGroups(t)
    const [first, second] = [randomUUID(), randomUUID()]
    both.server.store.put(pods, pod('web-0', first))
    const node = await startNode(t, both)
    const old = start(groups, first, node)
    t.match(await old.next(), { id: 'spiffe://k8s.nsm/ns/default/pod/web-0' })
    both.server.store.put(pods, pod('web-0', first, { deletionTimestamp: '2026-01-01T00:00:00Z' }))
    both.server.store.remove(pods, 'default', 'web-0')
    t.match(await old.next(), { code: 'PERMISSION_DENIED' })
    both.server.store.put(pods, pod('web-0', second))
    t.match(await start(groups, second, node).next(), { id: 'spiffe://k8s.nsm/ns/default/pod/web-0' })
    t.notOk(
      old.lines.slice(1).some(({ id }) => id !== undefined),
      'the old one stays without',
    )
  },
)

t.test('while the API server is away known pods get identities', { skip: noGroups }, async (t) => {
  const both = await cluster(t)
  const groups = podGroups(t)
  const uid = randomUUID()
  both.server.store.put(pods, pod('a', uid))
  const node = await startNode(t, both)
  t.match(await start(groups, uid, node).next(), { id: 'spiffe://k8s.nsm/ns/default/pod/a' })
  await both.server.stop()
  t.match(await start(groups, uid, node).next(), { id: 'spiffe://k8s.nsm/ns/default/pod/a' })
  t.match(await start(groups, randomUUID(), node).next(), { code: 'PERMISSION_DENIED' })
})

t.test('agents that start at once on an empty Secret share one root', async (t) => {
  const both = await cluster(t)
  const nodes = await Promise.all(['1', '2', '3', '4', '5'].map(async (n) => startNode(t, both, `node-${n}`)))
  const expiries = new Set(nodes.map(({ identity }) => identity.expiresMs))
  t.equal(expiries.size, 1)
  const secret = both.server.store.get(secrets, 'nsm-system', 'nsm-authority')
  const pem = Buffer.from((secret!['data'] as Record<string, string>)['roots.pem'] ?? '', 'base64').toString()
  t.equal(pem.match(/BEGIN CERTIFICATE/g)?.length, 1)
})

t.test('without the Secret identities wait for it, and say so', async (t) => {
  const both = await serverAndClient(t)
  const known = nodePods(both.client, 'node-1', silent)
  const socket = join(socketFolder(t), 'agent.sock')
  const identity = startIdentity({
    config: agentConfig.parse({ NODE_NAME: 'node-1', NSM_IDENTITY_SOCKET: socket }),
    client: both.client,
    namespace: 'nsm-system',
    pods: known,
    log: silent,
    attested: () => undefined,
  })
  t.teardown(async () => {
    await identity.close()
    known.close()
  })
  await until('it says so', () => /nsm-authority/.test(identity.problem ?? ''))
  both.server.store.put(secrets, { metadata: { name: 'nsm-authority', namespace: 'nsm-system' } })
  await until('identities are given', () => identity.problem === undefined)
})
