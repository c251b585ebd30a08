import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { startCollector } from '@nsm/prefixes/collector.js'
import { collectorConfig } from '@nsm/prefixes/config.js'
import { excludedPrefixesFile } from '@nsm/sdk/elements/excluded-prefixes-file.js'
import { silent, type Logger } from '@nsm/sdk/log.js'
import type { Env } from '@nsm/sdk/process/config.js'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { status, testApiServer, type TestApiServer } from '../kit/api-server.ts'
import { startProcess } from '../kit/running-process.ts'
import { until } from '../kit/until.ts'

// As a daemon's `run` does: what waits for a server doesn't keep a process.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

interface World {
  readonly server: TestApiServer
  readonly folder: string
  readonly path: string
  readonly written: () => Promise<string | undefined>
  readonly start: (env?: Env) => Promise<string>
}

const world = async (t: Test, hasServiceCidrs = true): Promise<World> => {
  const server = await testApiServer()
  const folder = await mkdtemp(join(tmpdir(), 'nsm-prefixes-'))
  t.teardown(async () => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  })
  server.intercept = ({ path }, res) => {
    if (path !== '/apis/networking.k8s.io/v1') return false
    const names = ['networkpolicies', ...(hasServiceCidrs ? ['servicecidrs'] : [])]
    res.end(JSON.stringify({ kind: 'APIResourceList', resources: names.map((name) => ({ name })) }))
    return true
  }
  const path = join(folder, 'config', 'excluded_prefixes.yaml')
  process.env['KUBECONFIG'] = await kubeconfig(folder, server)
  return {
    server,
    folder,
    path,
    written: () => readFile(path, 'utf8').catch(() => undefined),
    async start(env = {}) {
      let ops = ''
      const log: Logger = {
        ...silent,
        info: ({ ops: address }) => void (ops = typeof address === 'string' ? address : ops),
        child: () => silent,
      }
      const config = collectorConfig.parse({
        NSM_OPS_LISTEN_ON: '127.0.0.1:0',
        NSM_OUTPUT_FILE_PATH: path,
        ...env,
      })
      const service = await startCollector(config, log)
      t.teardown(() => service.close(AbortSignal.timeout(5_000)))
      return ops
    },
  }
}

const kubeconfig = async (folder: string, server: TestApiServer): Promise<string> => {
  const file = join(folder, 'kubeconfig')
  const data = Buffer.from(server.ca).toString('base64')
  const cluster = { server: `https://localhost:${server.port}`, 'certificate-authority-data': data }
  const text = stringify({
    'current-context': 'c',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'c', user: { token: 'x' } }],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  })
  await writeFile(file, text)
  return file
}

const node = (name: string, podCIDR: string, address: string) => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name },
  spec: { podCIDRs: [podCIDR] },
  status: { addresses: [{ type: 'InternalIP', address }] },
})

const input = (text: string, namespace = 'default') => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace, name: 'excluded-prefixes-config' },
  data: { 'excluded_prefixes_input.yaml': text },
})

const list = (...prefixes: string[]): string => `Prefixes:\n${prefixes.map((one) => `- ${one}\n`).join('')}`

t.test('nodes, service ranges, users and the environment; live', async (t) => {
  const { server, path, written, start } = await world(t)
  server.store.put('/api/v1/nodes', node('a', '10.244.0.0/24', '192.168.0.4'))
  server.store.put('/apis/networking.k8s.io/v1/servicecidrs', {
    metadata: { name: 'kubernetes' },
    spec: { cidrs: ['10.96.0.0/16'] },
  })
  await start({ NSM_EXCLUDED_PREFIXES: '172.20.0.0/16, 10.96.3.0/24' })
  const first = list('10.96.0.0/16', '10.244.0.0/24', '172.20.0.0/16', '192.168.0.4/32')
  await until('it is written', async () => (await written()) === first)

  const read = await excludedPrefixesFile(path, silent)
  t.teardown(() => read.close())
  server.store.put('/api/v1/nodes', node('b', '10.244.1.0/24', '192.168.0.5'))
  server.store.put('/api/v1/configmaps', input('prefixes: [172.16.1.201/32]'))
  const second = ['10.96.0.0/16', '10.244.0.0/23', '172.16.1.201/32', '172.20.0.0/16', '192.168.0.4/31']
  await until('nsmgr has heard', () => read.prefixes().join() === second.join())
  server.store.remove('/api/v1/nodes', undefined, 'a')
  server.store.remove('/api/v1/configmaps', 'default', 'excluded-prefixes-config')
  const third = ['10.96.0.0/16', '10.244.1.0/24', '172.20.0.0/16', '192.168.0.5/32']
  await until('nsmgr has heard', () => read.prefixes().join() === third.join())
  t.notOk(
    server.calls.some(({ path }) => path === '/api/v1/services'),
    'services are not asked for where ranges are objects',
  )
})

t.test('a cluster without ServiceCIDR objects, made by kubeadm', async (t) => {
  const { server, written, start } = await world(t, false)
  const networking = { podSubnet: '10.244.0.0/16', serviceSubnet: '10.96.0.0/12' }
  server.store.put('/api/v1/configmaps', {
    metadata: { namespace: 'kube-system', name: 'kubeadm-config' },
    data: { ClusterConfiguration: stringify({ networking }) },
  })
  await start()
  await until('it is written', async () => (await written()) === list('10.96.0.0/12', '10.244.0.0/16'))
})

t.test('one of which nothing is said: services tell', async (t) => {
  const { server, written, start } = await world(t, false)
  const service = (name: string, clusterIP: string) =>
    server.store.put('/api/v1/services', {
      metadata: { namespace: 'n', name },
      spec: { clusterIPs: [clusterIP] },
    })
  service('a', '10.43.0.1')
  service('headless', 'None')
  await start()
  await until('it is written', async () => (await written()) === list('10.43.0.0/20'))
  service('b', '10.43.100.1')
  await until('it is written', async () => (await written()) === list('10.43.0.0/17'))
})

t.test('faults of users: an Event that says what would be right, and the rest counts', async (t) => {
  const { server, written, start } = await world(t)
  server.store.put('/api/v1/configmaps', input('prefixes: [10.1.0.0/16, 10.2.0.7]'))
  const ops = await start()
  await until('it is written', async () => (await written()) === list('10.1.0.0/16'))
  const events = () => server.store.list('/api/v1/events').map(({ message }) => message)
  await until('there is an event', () => events().length === 1)
  t.match(server.store.list('/api/v1/events')[0], {
    metadata: { namespace: 'default' },
    involvedObject: {
      kind: 'ConfigMap',
      name: 'excluded-prefixes-config',
      namespace: 'default',
      uid: String,
    },
    type: 'Warning',
    reason: 'ExcludedPrefixesInvalid',
    message: 'key "excluded_prefixes_input.yaml": prefixes[1] must be 10.2.0.7/32, not "10.2.0.7"',
  })
  const metrics = await (await fetch(`${ops}/metrics`)).text()
  t.match(metrics, /^nsm_excluded_prefixes 1$/m)
  t.match(metrics, /^nsm_excluded_prefixes_input_faults 1$/m)
  t.match(metrics, /^nsm_build_info\{/m)

  server.store.put('/api/v1/configmaps', input('prefixes: ['))
  await until('there is another', () => events().length === 2)
  t.match(events().join(), /must be YAML such as .*what was read before stays in force/)
  server.store.put('/api/v1/nodes', node('a', '10.244.0.0/24', '192.168.0.4'))
  const kept = list('10.1.0.0/16', '10.244.0.0/24', '192.168.0.4/32')
  await until('it is written', async () => (await written()) === kept)
  server.store.put('/api/v1/configmaps', { ...input(''), data: { 'excluded_prefixes.yaml': 'prefixes: []' } })
  await until('there is a third', () => events().length === 3)
  t.match(events().join(), /is missing; there is "excluded_prefixes.yaml"/)
})

t.test('into a ConfigMap, whose other keys stay', async (t) => {
  const { server, start } = await world(t)
  server.store.put('/api/v1/configmaps', {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace: 'nsm-system', name: 'out' },
    data: { other: 'x' },
  })
  server.store.put('/api/v1/configmaps', input('prefixes: [10.1.0.0/16]', 'nsm-system'))
  await start({
    NSM_PREFIXES_OUTPUT_TYPE: 'config-map',
    NSM_CONFIG_MAP_NAMESPACE: 'nsm-system',
    NSM_OUTPUT_CONFIG_MAP_NAME: 'out',
    NSM_OUTPUT_CONFIG_MAP_KEY: 'excluded_prefixes.yaml',
  })
  const data = () => server.store.get('/api/v1/configmaps', 'nsm-system', 'out')?.['data']
  await until(
    'it is written',
    () => (data() as Record<string, string>)['excluded_prefixes.yaml'] !== undefined,
  )
  t.same(data(), { other: 'x', 'excluded_prefixes.yaml': list('10.1.0.0/16') })
})

t.test('nothing is written before everything is known, and readiness says what lacks', async (t) => {
  const { server, folder, path, written, start } = await world(t)
  const usual = server.intercept
  let isRefused = true
  server.intercept = (call, res) => {
    if (!isRefused || call.path !== '/api/v1/nodes') return usual?.(call, res) ?? false
    status(res, 403, 'Forbidden', 'nodes is forbidden')
    return true
  }
  await writeFile(join(folder, 'before'), list('10.0.0.0/8'))
  const ops = await start({
    NSM_OUTPUT_FILE_PATH: join(folder, 'before'),
    NSM_EXCLUDED_PREFIXES: '10.9.0.0/16',
  })
  const ready = async () => (await fetch(`${ops}/readyz`)).text()
  await until('the rest is known', async () => /failed: not read yet: nodes$/m.test(await ready()))
  t.equal(await readFile(join(folder, 'before'), 'utf8'), list('10.0.0.0/8'))
  isRefused = false
  await until('it is ready', async () => (await fetch(`${ops}/readyz`)).status === 200)
  t.equal(await readFile(join(folder, 'before'), 'utf8'), list('10.9.0.0/16'))
  t.equal(await written(), undefined, path)
})

t.test('a text that is unreadable when it starts takes no prefix away', async (t) => {
  const { server, path, written, start } = await world(t)
  server.store.put('/api/v1/configmaps', input('prefixes: [10.1.0.0/16'))
  const before = list('10.1.0.0/16', '10.9.0.0/16')
  await mkdir(dirname(path))
  await writeFile(path, before)
  const ops = await start({ NSM_EXCLUDED_PREFIXES: '10.9.0.0/16' })
  const ready = async () => (await fetch(`${ops}/readyz`)).text()
  await until('the rest is known', async () => /not read yet: the ConfigMap of users$/m.test(await ready()))
  await until('it is told', () => server.store.list('/api/v1/events').length === 1)
  t.match(server.store.list('/api/v1/events'), [
    { message: /must be YAML such as .*; nothing is written until it is right$/ },
  ])
  server.store.put('/api/v1/nodes', node('a', '10.244.0.0/24', '192.168.0.4'))
  server.store.put('/api/v1/configmaps', input('prefixes: 10.1.0.0/16'))
  await until('the other fault is told', () => server.store.list('/api/v1/events').length === 2)
  t.equal(await written(), before)
  server.store.put('/api/v1/configmaps', input('prefixes: [10.2.0.0/16]'))
  const after = list('10.2.0.0/16', '10.9.0.0/16', '10.244.0.0/24', '192.168.0.4/32')
  await until('it is written', async () => (await written()) === after)
  server.store.put('/api/v1/configmaps', input('prefixes: ['))
  await until('the third fault is told', () => server.store.list('/api/v1/events').length === 3)
  const told = server.store.list('/api/v1/events').map(({ message }) => String(message))
  t.equal(told.filter((message) => message.endsWith('what was read before stays in force')).length, 1)
  t.match(await ready(), /^\[\+\]sources ok$/m)
})

t.test('the process: writes, ends when told; refuses what is no prefix', async (t) => {
  const { server, folder, path, written } = await world(t)
  server.store.put('/api/v1/nodes', node('a', '10.244.0.0/24', '192.168.0.4'))
  const env = {
    KUBECONFIG: join(folder, 'kubeconfig'),
    NSM_OPS_LISTEN_ON: '127.0.0.1:0',
    NSM_OUTPUT_FILE_PATH: path,
  }
  const running = startProcess(t, 'prefixes', env)
  await running.said('excluded prefixes written')
  t.equal(await written(), list('10.244.0.0/24', '192.168.0.4/32'))
  t.equal(await running.stop('SIGTERM'), 0)
  const refused = startProcess(t, 'prefixes', { ...env, NSM_EXCLUDED_PREFIXES: '10.0.0.1' })
  t.match(await refused.said('fatal'), {
    err: /NSM_EXCLUDED_PREFIXES must be prefixes such as .*not "10.0.0.1"/,
  })
  t.equal(await refused.exited, 1)
})
