import { clusterDnsOf } from '@nsm/webhook/cluster-dns.js'
import t from 'tap'

t.test(
  'what kubelet wrote into a pod tells the cluster’s resolvers and the nodes’ search domains',
  async (t) => {
    const text = `search nsm-system.svc.cluster.local svc.cluster.local cluster.local corp.example
nameserver 10.96.0.10
nameserver fd00::a
options ndots:5
`
    t.same(clusterDnsOf(text, 'cluster.local'), {
      servers: ['10.96.0.10', 'fd00::a'],
      domain: 'cluster.local',
      nodeSearch: ['corp.example'],
    })
  },
)

t.test('a machine’s own resolv.conf says nothing of a cluster', async (t) => {
  const found = clusterDnsOf('nameserver 127.0.0.53\nsearch corp.example\n', 'cluster.local')
  t.same(found.servers, [])
  t.same(clusterDnsOf('', 'cluster.local').servers, [])
})
