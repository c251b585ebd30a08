import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { testAuthority } from '../kit/identity.ts'
import { endpoint, namesFound, watcher } from '../kit/registry-conformance.ts'
import { program, service } from '../kit/registry-mesh.ts'
import { freePort, startProcess, type RunningProcess } from '../kit/running-process.ts'
import { until } from '../kit/until.ts'
import { messageOf, workloadServer } from '../kit/workload-server.ts'
import { endpointsPath, namespace, registryWorld } from './registry-world.ts'

const world = await registryWorld(t)

/** What a registry may do, and no more. */
const rights = `
apiVersion: v1
kind: ServiceAccount
metadata: { name: registry, namespace: ${namespace} }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: registry }
rules:
  - apiGroups: [networkservicemesh.io]
    resources: [networkservices, networkserviceendpoints]
    verbs: [list, watch]
  - apiGroups: [networkservicemesh.io]
    resources: [networkservices/status, networkserviceendpoints/status]
    verbs: [patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: registry, namespace: ${namespace} }
rules:
  - apiGroups: [networkservicemesh.io]
    resources: [networkservices, networkserviceendpoints]
    verbs: [get, create, update, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: registry }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: registry }
subjects: [{ kind: ServiceAccount, name: registry, namespace: ${namespace} }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: registry, namespace: ${namespace} }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: registry }
subjects: [{ kind: ServiceAccount, name: registry, namespace: ${namespace} }]
`

/** Credentials of the service account alone. */
async function limitedKubeconfig(t: Test): Promise<string> {
  const folder = t.testdir({ 'rights.yaml': rights })
  await world.kubectl(['apply', '-f', join(folder, 'rights.yaml')])
  const token = (await world.kubectl(['create', 'token', 'registry', '-n', namespace])).trim()
  const config = parse(await readFile(world.kubeconfig, 'utf8')) as { users: { user: object }[] }
  for (const one of config.users) one.user = { token }
  const file = join(folder, 'kubeconfig')
  await writeFile(file, stringify(config))
  return file
}

interface Mesh {
  readonly start: (pod: string, url: string) => Promise<RunningProcess>
  readonly client: (path: string, url: string) => Registries
}

async function mesh(t: Test): Promise<Mesh> {
  const ca = await testAuthority('k8s.nsm')
  const kubeconfig = await limitedKubeconfig(t)
  const life = new AbortController()
  t.teardown(() => life.abort())
  return {
    async start(pod, url) {
      const identity = ca.source(`/ns/${namespace}/pod/${pod}`)
      const workload = await workloadServer({ svids: (call) => call.write(messageOf(identity.current)) })
      t.teardown(() => workload.stop())
      return startProcess(t, 'registry', {
        SPIFFE_ENDPOINT_SOCKET: workload.address,
        NSM_LISTEN_ON: url,
        NSM_OPS_LISTEN_ON: '127.0.0.1:0',
        NSM_STORE: 'kubernetes',
        NSM_NAMESPACE: namespace,
        KUBECONFIG: kubeconfig,
      })
    },
    client(path, url) {
      const { dial } = program(t, ca, path).dialer
      return registryClient({ dial, url, signal: life.signal, retry: { pauseMs: 20 } })
    },
  }
}

const soon = (): Ctx => ({
  ...background({ signal: AbortSignal.timeout(30_000) }),
  deadlineMs: Date.now() + 30_000,
})

/** As long as several tries may take to find an API server that has just started. */
const readyMs = 60_000

/** Its address of health and metrics, once it is ready. */
async function ready(running: RunningProcess): Promise<string> {
  const { ops } = await running.said('listening')
  await until('it is ready', async () => (await fetch(`${String(ops)}/readyz`)).ok, readyMs)
  return String(ops)
}

t.test('two processes with the rights of the chart are one registry, also when one is killed', async (t) => {
  const { start, client } = await mesh(t)
  const urls = [`tcp://127.0.0.1:${await freePort()}`, `tcp://127.0.0.1:${await freePort()}`] as const
  const [first, second] = [await start('registry-a', urls[0]), await start('registry-b', urls[1])]
  const ops = [await ready(first), await ready(second)]
  const nse = client('/ns/app/pod/nse', urls[0])
  const { networkServiceEndpoints: seen } = client(`/ns/${namespace}/pod/nsmgr`, urls[1])
  await nse.networkServices.register(soon(), service('db'))
  const { initialRegistrationTime } = await nse.networkServiceEndpoints.register(
    soon(),
    endpoint('a', { pathIds: [] }),
  )
  await until('the other one knows', async () => (await namesFound(soon(), seen)).includes('a'))
  const next = watcher(t, seen, { name: 'b' })
  const heard = next()
  await nse.networkServiceEndpoints.register(soon(), endpoint('b', { url: 'tcp://1:1', pathIds: [] }))
  t.equal(await heard, '+b tcp://1:1')
  await until('both have a status', async () => {
    const { items } = (await world.client.get(endpointsPath)) as unknown as { items: { status?: unknown }[] }
    return items.length === 2 && items.every(({ status }) => status !== undefined)
  })
  first.child.kill('SIGKILL')
  t.same(await namesFound(soon(), seen), ['a', 'b'])
  const other = client('/ns/app/pod/nse', urls[1]).networkServiceEndpoints
  const again = await other.register(soon(), endpoint('a', { pathIds: [] }))
  t.same(again.initialRegistrationTime, initialRegistrationTime)
  let metrics = ''
  await until('the refresh is written', async () => {
    metrics = await (await fetch(`${ops[1]}/metrics`)).text()
    return /nsm_registry_kubernetes_calls_total{operation="replace",code="OK"} \d/.test(metrics)
  })
  t.match(metrics, 'nsm_registry_objects{kind="network service endpoint"} 2')
  t.match(metrics, 'nsm_registry_kubernetes_up 1')
  t.notMatch(metrics, 'code="PERMISSION_DENIED"')
  await other.unregister(soon(), endpoint('a'))
  t.equal(await second.stop('SIGTERM'), 0)
})

t.test('an API server that is not there when it starts: not ready, then it is', async (t) => {
  const { start } = await mesh(t)
  await world.stopApiServer()
  const running = await start('registry-c', `tcp://127.0.0.1:${await freePort()}`)
  const { ops } = await running.said('listening')
  const response = await fetch(`${String(ops)}/readyz`)
  t.equal(response.status, 503)
  t.match(await response.text(), '[-]kubernetes failed: registrations are not loaded yet')
  await world.startApiServer()
  await ready(running)
  t.equal(await running.stop('SIGTERM'), 0)
})
