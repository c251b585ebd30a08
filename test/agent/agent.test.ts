import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { testApiServer, type TestApiServer } from '../kit/api-server.ts'
import { noGroups, podGroups } from '../kit/own-cgroup.ts'
import { freePort, startProcess, type RunningProcess } from '../kit/running-process.ts'
import { socketFolder } from '../kit/socket-folder.ts'
import { until } from '../kit/until.ts'

interface Running {
  readonly agent: RunningProcess
  readonly server: TestApiServer
  /** Status and text of `/readyz`. */
  ready(): Promise<{ readonly status: number; readonly text: string }>
  get(path: string): Promise<string>
  readonly folder: string
}

async function startAgent(
  t: Test,
  env: Record<string, string> = {},
  prepare: (server: TestApiServer) => Promise<void> | void = () => undefined,
): Promise<Running> {
  const folder = socketFolder(t)
  const server = await testApiServer()
  t.teardown(() => server.stop())
  server.store.put('/api/v1/secrets', { metadata: { name: 'nsm-authority', namespace: 'nsm-system' } })
  await prepare(server)
  const kubeconfig = join(folder, 'kubeconfig')
  await writeFile(kubeconfig, kubeconfigOf(server))
  const port = await freePort()
  for (const name of ['plugins', 'plugins_registry'])
    await mkdir(join(folder, 'kubelet', name), { recursive: true })
  const agent = startProcess(t, 'agent', {
    NODE_NAME: 'node-1',
    POD_NAMESPACE: 'nsm-system',
    KUBECONFIG: kubeconfig,
    NSM_OPS_LISTEN_ON: `127.0.0.1:${port}`,
    NSM_IDENTITY_SOCKET: join(folder, 'sockets', 'agent.sock'),
    NSM_KUBELET_FOLDER: join(folder, 'kubelet'),
    NSM_MANAGER_FOLDER: join(folder, 'manager'),
    ...env,
  })
  const ask = async (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`)
  return {
    agent,
    server,
    folder,
    async ready() {
      const response = await ask('/readyz')
      return { status: response.status, text: await response.text() }
    },
    get: async (path) => (await ask(path)).text(),
  }
}

function kubeconfigOf({ port, ca }: TestApiServer): string {
  const named = (name: string, key: string, value: object): object => ({
    [`${key}s`]: [{ name, [key]: value }],
  })
  const cluster = {
    server: `https://localhost:${port}`,
    'certificate-authority-data': Buffer.from(ca).toString('base64'),
  }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    ...named('test', 'cluster', cluster),
    ...named('test', 'user', { token: 'x' }),
    ...named('test', 'context', { cluster: 'test', user: 'test' }),
  })
}

t.test('the agent serves identities and volumes, and ends in good order', { skip: noGroups }, async (t) => {
  const groups = podGroups(t)
  const uid = randomUUID()
  const { agent, ready, get, folder } = await startAgent(t, {}, (server) => {
    const metadata = { name: 'a', namespace: 'default', uid }
    server.store.put('/api/v1/pods', { metadata, spec: { nodeName: 'node-1' } })
  })
  await agent.said('identities are given')
  await until('it is ready', async () => (await ready()).status === 200)
  t.match((await ready()).text, /\[\+\]pods ok\n\[\+\]identity ok\n/)
  t.same((await readdir(join(folder, 'kubelet', 'plugins_registry'))).sort(), [
    'csi.networkservicemesh.io-reg.sock',
    'csi.spiffe.io-reg.sock',
  ])
  const workload = fileURLToPath(new URL('identity/workload.js', import.meta.url))
  const env = { SPIFFE_ENDPOINT_SOCKET: `unix://${join(folder, 'sockets', 'agent.sock')}` }
  const child = groups.spawnIn(uid, [process.execPath, workload], env)
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  t.match(JSON.parse(line.toString()), { id: 'spiffe://k8s.nsm/ns/default/pod/a' })
  const metrics = await get('/metrics')
  t.match(metrics, /nsm_agent_attestations_total\{result="identified"\} 1\n/)
  t.match(metrics, /nsm_agent_pods 1\n/)
  t.match(metrics, /nsm_agent_root_expiry_timestamp_seconds \d{10}/)
  t.equal(await agent.stop('SIGTERM'), 0)
  t.same(await readdir(join(folder, 'sockets')), [])
})

t.test('volumes do not wait for an API server that is away; identities follow when it is back', async (t) => {
  const { agent, server, ready, folder } = await startAgent(t, {}, async (server) => server.stop())
  await agent.said('ready')
  const registered = await readdir(join(folder, 'kubelet', 'plugins_registry'))
  t.ok(registered.includes('csi.networkservicemesh.io-reg.sock'))
  t.match(await ready(), { status: 503, text: /\[-\]pods failed.*\n\[-\]identity failed/ })
  await server.start()
  await agent.said('identities are given')
  await until('it is ready', async () => (await ready()).status === 200)
})

t.test('with everything off but volumes it asks nobody for anything', async (t) => {
  const env = { NSM_IDENTITY: 'off', NSM_EVENTS: 'false', KUBECONFIG: '/does/not/exist' }
  const { agent, server, ready, folder } = await startAgent(t, env)
  await agent.said('ready')
  t.match(await ready(), { status: 200 })
  t.same(server.calls, [])
  t.same(await readdir(join(folder, 'kubelet', 'plugins_registry')), ['csi.networkservicemesh.io-reg.sock'])
})

t.test('lives that cannot be are refused', async (t) => {
  const { agent } = await startAgent(t, { NSM_SVID_TTL: '2h', NSM_CA_TTL: '1h' })
  t.match(await agent.said('fatal'), { code: 'INVALID_ARGUMENT', err: /twice as long/ })
  t.equal(await agent.exited, 1)
  const { agent: other } = await startAgent(t, { NSM_TRUST_DOMAIN: 'K8S' })
  t.match(await other.said('fatal'), { err: /NSM_TRUST_DOMAIN must be a trust domain/ })
})

t.test('an agent that leaves for good stays until pods have let go of their volumes', async (t) => {
  const env = { NSM_IDENTITY: 'off', NSM_EVENTS: 'false' }
  const leaveFile = join(socketFolder(t), 'leave')
  const { agent, ready, folder } = await startAgent(t, { ...env, NSM_LEAVE_FILE: leaveFile })
  await agent.said('ready')
  const volumes = ['csi.networkservicemesh.io', 'csi.example.org'].map((driverName, i) => ({
    driverName,
    path: join(folder, 'kubelet/pods', `uid-${i}`, 'volumes/kubernetes.io~csi/socket'),
  }))
  for (const { driverName, path } of volumes) {
    await mkdir(path, { recursive: true })
    await writeFile(join(path, 'vol_data.json'), JSON.stringify({ driverName }))
  }
  await writeFile(leaveFile, 'true')
  await until('it says so', async () => (await ready()).status === 503)
  t.match((await ready()).text, /\[-\]leaving failed: this agent is removed for good/)
  const ended = agent.stop('SIGTERM')
  t.match(await agent.said('staying until pods have let go of their volumes'), { volumes: ['uid-0/socket'] })
  const plugins = join(folder, 'kubelet/plugins_registry')
  t.same(await readdir(plugins), ['csi.networkservicemesh.io-reg.sock'])
  await rm(volumes[0]?.path ?? '', { recursive: true })
  t.equal(await ended, 0)
  t.same(await readdir(plugins), [])
})

t.test('an agent that stays for volumes makes way for the next one', async (t) => {
  const env = { NSM_IDENTITY: 'off', NSM_EVENTS: 'false' }
  const leaveFile = join(socketFolder(t), 'leave')
  await writeFile(leaveFile, 'true')
  const { agent, folder } = await startAgent(t, { ...env, NSM_LEAVE_FILE: leaveFile })
  await agent.said('ready')
  const volume = join(folder, 'kubelet/pods/uid/volumes/kubernetes.io~csi/socket')
  await mkdir(volume, { recursive: true })
  await writeFile(join(volume, 'vol_data.json'), JSON.stringify({ driverName: 'csi.networkservicemesh.io' }))
  const ended = agent.stop('SIGTERM')
  await agent.said('staying until pods have let go of their volumes')
  const kubelet = { NSM_KUBELET_FOLDER: join(folder, 'kubelet') }
  const { agent: next } = await startAgent(t, { ...env, ...kubelet })
  await next.said('ready')
  t.equal(await ended, 0)
  const plugins = join(folder, 'kubelet/plugins_registry')
  t.same(await readdir(plugins), ['csi.networkservicemesh.io-reg.sock'], 'of the next one')
  t.equal(await next.stop('SIGTERM'), 0)
  t.same(await readdir(plugins), [])
})
