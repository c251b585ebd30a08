import { clusterConfigurationPrefixes } from '@nsm/prefixes/cluster-configuration.js'
import { leanNode, nodePrefixes } from '@nsm/prefixes/node-prefixes.js'
import { prefixesText } from '@nsm/prefixes/prefixes-text.js'
import { derivedServicePrefixes, leanService, serviceCidrPrefixes } from '@nsm/prefixes/service-prefixes.js'
import { readUserInput } from '@nsm/prefixes/user-input.js'
import { formatPrefix, parsePrefix, type Prefix } from '@nsm/sdk/net/prefix.js'
import fc from 'fast-check'
import t from 'tap'

const texts = (prefixes: readonly Prefix[]): string[] => prefixes.map(formatPrefix)

t.test('a node of two families', async (t) => {
  const node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n', uid: 'u', resourceVersion: '7', labels: { a: 'b' } },
    spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24', 'fd00:10:244::/64'], taints: [] },
    status: {
      addresses: [
        { type: 'InternalIP', address: '192.168.0.5' },
        { type: 'InternalIP', address: 'fd00::5' },
        { type: 'ExternalIP', address: '203.0.113.9' },
        { type: 'Hostname', address: '10.9.9.9' },
        { type: 'InternalDNS', address: 'n.internal' },
      ],
      images: Array.from({ length: 50 }, () => ({ names: ['x'] })),
    },
  }
  const expected = ['10.244.1.0/24', 'fd00:10:244::/64', '192.168.0.5/32', 'fd00::5/128', '203.0.113.9/32']
  t.same(texts(nodePrefixes(node)), expected)
  t.same(texts(nodePrefixes(leanNode(node))), expected)
  t.same(Object.keys(leanNode(node)), ['metadata', 'spec', 'status'])
  t.same(texts(nodePrefixes(leanNode({ metadata: {}, spec: { podCIDR: '10.0.0.0/24' } }))), ['10.0.0.0/24'])
  t.same(nodePrefixes(leanNode({ metadata: {} })), [], 'one that has just joined')
})

t.test('ranges of services', async (t) => {
  t.same(texts(serviceCidrPrefixes({ metadata: {}, spec: { cidrs: ['10.96.0.0/12', 'fd00::/112', 'x'] } })), [
    '10.96.0.0/12',
    'fd00::/112',
  ])
  const service = (...clusterIPs: string[]) => ({ metadata: {}, spec: { clusterIPs } })
  const derived = (...services: object[]): string[] =>
    texts(derivedServicePrefixes(services as never[])).map((text) =>
      formatPrefix(parsePrefix(text) as Prefix),
    )
  t.same(derived(), [])
  t.same(derived(service('None'), service(''), { metadata: {} }), [], 'headless ones')
  t.same(derived(service('10.96.0.1')), ['10.96.0.1/20'])
  t.same(derived(service('10.96.0.1', 'fd00::1'), service('10.96.200.7')), ['10.96.0.1/16', 'fd00::1/112'])
  t.same(leanService({ metadata: { name: 'a', labels: {} }, spec: { clusterIP: '10.0.0.1' } }), {
    metadata: { namespace: '', name: 'a', uid: '', resourceVersion: '' },
    spec: { clusterIPs: ['10.0.0.1'] },
  })
})

t.test('kubeadm’s configuration', async (t) => {
  const read = (ClusterConfiguration: string) => {
    const { pods, services } = clusterConfigurationPrefixes({ metadata: {}, data: { ClusterConfiguration } })
    return [texts(pods), texts(services)]
  }
  const networking = 'networking:\n  podSubnet: 10.244.0.0/16,fd00:10:244::/56\n  serviceSubnet: 10.96.0.0/16'
  t.same(read(`kind: ClusterConfiguration\n${networking}\n`), [
    ['10.244.0.0/16', 'fd00:10:244::/56'],
    ['10.96.0.0/16'],
  ])
  t.same(read('kind: ClusterConfiguration'), [[], []])
  t.same(read('networking: {podSubnet: 7, serviceSubnet: x}'), [[], []])
  t.same(clusterConfigurationPrefixes({ metadata: {} }), { pods: [], services: [] })
  t.throws(() => read('networking: ['))
})

t.test('what users write', async (t) => {
  for (const key of ['prefixes', 'Prefixes', 'PREFIXES']) {
    const { prefixes, faults } = readUserInput(`${key}:\n- 172.16.1.0/24\n- "fd00::/8"\n`)
    t.same([texts(prefixes), faults], [['172.16.1.0/24', 'fd00::/8'], []])
  }
  for (const empty of ['', '# nothing\n', 'prefixes:\n', 'prefixes: []']) {
    t.same(readUserInput(empty), { prefixes: [], faults: [] }, JSON.stringify(empty))
  }
  const { prefixes, faults } = readUserInput('prefixes: [172.16.1.7, 10.0.0.0/33, 7, 10.1.0.0/16, fd00::1]')
  t.same(texts(prefixes), ['10.1.0.0/16'])
  t.same(faults, [
    'prefixes[0] must be 172.16.1.7/32, not "172.16.1.7"',
    'prefixes[1] must be a prefix such as 10.96.0.0/12, not "10.0.0.0/33"',
    'prefixes[2] must be a prefix such as 10.96.0.0/12, not 7',
    'prefixes[4] must be fd00::1/128, not "fd00::1"',
  ])
  const many = readUserInput(`prefixes: [${'x,'.repeat(30)}10.0.0.0/8]`)
  t.equal(many.faults.length, 11)
  t.equal(many.faults.at(-1), 'and 20 more like these')
  const refused: [string, RegExp][] = [
    ['- 10.0.0.0/8', /must be a mapping such as prefixes: \[.*not \["10\.0\.0\.0\/8"\]/],
    ['10.0.0.0/8', /must be a mapping/],
    ['prefix: [10.0.0.0/8]', /has the keys \["prefix"\]/],
    ['prefixes: 10.0.0.0/8', /"prefixes" must be a list/],
    ['prefixes: [', /must be YAML such as prefixes: .*line 1/],
    [`prefixes: [${'x,'.repeat(10_001)}]`, /10001 entries, at most 10000/],
  ]
  for (const [text, message] of refused) t.throws(() => readUserInput(text), { message }, text.slice(0, 30))
})

t.test('whatever stands there, it is read or refused with a sentence', async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json().map((json) => `prefixes: ${json}`),
      ),
      (text) => {
        try {
          const { faults } = readUserInput(text)
          if (faults.some((fault) => fault === '')) throw new Error('an empty sentence')
        } catch (err) {
          if (!/must be|has \d+ entries/.test(String(err))) throw err
        }
      },
    ),
  )
})

t.test('the file that nsmgr reads', async (t) => {
  const prefixes = ['0.0.0.0/0', '10.96.0.0/12', '::/0', 'fd00::/8'].map(
    (text) => parsePrefix(text) as Prefix,
  )
  const text = prefixesText(prefixes)
  t.match(text, /^Prefixes:\n- 0\.0\.0\.0\/0\n- 10\.96\.0\.0\/12\n/)
  t.same(texts(readUserInput(text).prefixes), ['0.0.0.0/0', '10.96.0.0/12', '::/0', 'fd00::/8'])
  t.equal(prefixesText([]), 'Prefixes: []\n')
})
