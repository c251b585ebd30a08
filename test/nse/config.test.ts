import { icmpResponderConfig } from '@nsm/nse/config.js'
import { parseDnsConfigs } from '@nsm/nse/dns-configs.js'
import { formatPrefix } from '@nsm/sdk/net/prefix.js'
import t from 'tap'
import { withoutUnknown } from '../kit/messages.js'

const spiffe = { SPIFFE_ENDPOINT_SOCKET: 'unix:///run/spire/sockets/agent.sock' }

t.test('defaults of the contract', (t) => {
  const config = icmpResponderConfig.parse(spiffe)
  t.match(config, {
    name: 'icmp-server',
    connectTo: 'unix:///var/lib/networkservicemesh/nsm.io.sock',
    serviceNames: ['icmp-responder'],
    payload: 'ETHERNET',
    labels: {},
    ipamPolicy: 'polite',
    dnsConfigs: [],
    idleTimeoutMs: 0,
    registerService: true,
    unregisterItself: false,
    policyRoutesPath: '/etc/policy-based-routing/config.yaml',
    maxTokenLifetimeMs: 600_000,
  })
  t.same(
    config.prefixGroups.map((group) => group.map(formatPrefix)),
    [['169.254.0.0/16']],
  )
  t.end()
})

t.test('all faults at once, each with what would be right', (t) => {
  const faulty = {
    NSM_CIDR_PREFIX: '10.0.0.0/24,10.0.0.0/25',
    NSM_DNS_CONFIGS: '[{"dns_server_ips":["10.0.0.1"],"search_domain":["x"]}]',
    NSM_IPAM_POLICY: 'rude',
    NSM_PAYLOAD: 'TCP',
  }
  t.throws(() => icmpResponderConfig.parse(faulty), {
    code: 'INVALID_ARGUMENT',
    message:
      /SPIFFE_ENDPOINT_SOCKET is required.*NSM_PAYLOAD must be one of.*NSM_IPAM_POLICY must be one of polite, strict.*search_domain.*NSM_CIDR_PREFIX must not overlap/,
  })
  t.end()
})

t.test('DNS configurations', (t) => {
  t.same(
    withoutUnknown(
      parseDnsConfigs(
        '[{"dns_server_ips":["172.16.1.100","2001:db8::1"],"search_domains":["my.coredns.service"]},{}]',
      ),
    ),
    [
      { dnsServerIps: ['172.16.1.100', '2001:db8::1'], searchDomains: ['my.coredns.service'] },
      { dnsServerIps: [], searchDomains: [] },
    ],
  )
  for (const text of [
    '',
    '{}',
    'null',
    '[1]',
    '[{"dns_server_ips":["10.0.0.1/8"]}]',
    '[{"search_domains":["a..b"]}]',
    `[{"search_domains":["${'a'.repeat(64)}"]}]`,
  ]) {
    t.throws(() => parseDnsConfigs(text), { message: /^must be a JSON list/ }, text.slice(0, 40))
  }
  t.end()
})
