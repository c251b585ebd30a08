import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { listAll } from '@nsm/kubernetes/list.js'
import t from 'tap'
import { startProcess } from '../kit/running-process.ts'
import { until } from '../kit/until.ts'
import { kubernetesWorld } from './kubernetes-world.ts'

const world = await kubernetesWorld(t, 'prefixes')
const { client } = world
const configMaps = '/api/v1/namespaces/nsm-system/configmaps'
const key = 'excluded_prefixes.yaml'

/** What the collector may do, and nothing else. */
const rights = [
  { apiGroups: [''], resources: ['nodes', 'services'], verbs: ['list', 'watch'] },
  { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['list', 'watch'] },
  {
    namespace: 'nsm-system',
    apiGroups: [''],
    resources: ['configmaps'],
    resourceNames: ['excluded-prefixes-config'],
    verbs: ['list', 'watch'],
  },
  {
    namespace: 'nsm-system',
    apiGroups: [''],
    resources: ['configmaps'],
    resourceNames: ['nsm-excluded-prefixes'],
    verbs: ['get', 'patch'],
  },
  { namespace: 'nsm-system', apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
]

const joined = async (name: string, podCIDR: string, address: string): Promise<void> => {
  await client.create('/api/v1/nodes', { metadata: { name }, spec: { podCIDR, podCIDRs: [podCIDR] } })
  const status = { addresses: [{ type: 'InternalIP', address }] }
  await client.patch(`/api/v1/nodes/${name}/status`, { status }, 'merge')
}

const written = async (): Promise<string | undefined> => {
  const { data } = await client.get<KubernetesObject>(`${configMaps}/nsm-excluded-prefixes`)
  return (data as Record<string, string> | undefined)?.[key]
}

const list = (...prefixes: string[]): string => `Prefixes:\n${prefixes.map((one) => `- ${one}\n`).join('')}`

t.test('the collector in a cluster, with no more rights than it needs', async (t) => {
  await joined('a', '10.244.0.0/24', '192.168.0.4')
  await client.create(configMaps, { metadata: { name: 'nsm-excluded-prefixes' } })
  const { kubeconfig } = await world.account(t, 'prefixes', rights)
  const running = startProcess(t, 'prefixes', {
    KUBECONFIG: kubeconfig,
    NSM_OPS_LISTEN_ON: '127.0.0.1:0',
    NSM_PREFIXES_OUTPUT_TYPE: 'config-map',
    NSM_CONFIG_MAP_NAMESPACE: 'nsm-system',
    NSM_OUTPUT_CONFIG_MAP_NAME: 'nsm-excluded-prefixes',
    NSM_OUTPUT_CONFIG_MAP_KEY: key,
  })
  await running.said('excluded prefixes written')
  t.equal(await written(), list('10.96.0.0/16', '10.244.0.0/24', '192.168.0.4/32'))

  await joined('b', '10.244.1.0/24', '192.168.0.9')
  await client.create(configMaps, {
    metadata: { name: 'excluded-prefixes-config' },
    data: { 'excluded_prefixes_input.yaml': 'prefixes:\n- 172.16.1.201/32\n- 172.16.1.202\n' },
  })
  const all = ['10.96.0.0/16', '10.244.0.0/23', '172.16.1.201/32', '192.168.0.4/32', '192.168.0.9/32']
  await until('all is written', async () => (await written()) === list(...all))
  const events = async () => {
    const path = '/api/v1/namespaces/nsm-system/events'
    const select = { fieldSelector: 'involvedObject.name=excluded-prefixes-config' }
    return (await listAll<KubernetesObject>({ client, path, select, signal: new AbortController().signal }))
      .items
  }
  await until('users are told what is wrong', async () => (await events()).length === 1)
  t.match((await events())[0], {
    reason: 'ExcludedPrefixesInvalid',
    message: /key "excluded_prefixes_input.yaml": prefixes\[1\] must be 172.16.1.202\/32/,
  })
  await client.create('/apis/networking.k8s.io/v1/servicecidrs', {
    metadata: { name: 'more' },
    spec: { cidrs: ['10.112.0.0/16'] },
  })
  await until('a new service range counts', async () => (await written())?.includes('10.112.0.0/16') === true)
  const faults = running.lines.filter((line) => line['code'] === 'PERMISSION_DENIED')
  t.same(faults, [], 'it asks for nothing that it may not have')
  t.equal(await running.stop('SIGTERM'), 0)
})
