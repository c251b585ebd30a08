import t from 'tap'
import { localMesh, noLocalMesh, waitFor } from '../kit/local-mesh.ts'
import { connectionsOf } from '../kit/mesh-processes.ts'
import { client, namespace, requester, yamlOf } from '../kit/pods.ts'
import { fivePolicies, followsFivePolicies, policyEndpoint } from '../kit/policies.ts'

const skip = noLocalMesh()

t.test(
  'routes by policy in the client',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const mesh = await localMesh(t)

    t.test('five policies of one service', async (t) => {
      const variables = { NSM_SERVICE_NAMES: 'policies', NSM_CIDR_PREFIX: '172.16.1.100/31' }
      await mesh.apply(
        yamlOf(
          namespace('one'),
          policyEndpoint('one', 'nse', variables, fivePolicies),
          client('one', 'nsc', 'kernel://policies/nsm-1'),
        ),
      )
      await mesh.ready('one', 2)
      await mesh.inPod('one', 'nsc', 'ping -c 1 -W 5 172.16.1.100')
      await mesh.inPod('one', 'nse', 'ping -c 1 -W 5 172.16.1.101')
      await followsFivePolicies(t, mesh, ['one', 'nsc'])
      t.equal((await mesh.nsm(['delete', 'pod', '-n', 'one', 'nse'])).code, 0)
    })

    t.test('two services that know of each other share addresses, and ports tell them apart', async (t) => {
      const urls = 'kernel://aware-1/nsm-1,kernel://aware-2/nsm-2'
      const serving = (service: string, rule: string): object =>
        policyEndpoint(
          'two',
          `nse-${service}`,
          { NSM_SERVICE_NAMES: service, NSM_CIDR_PREFIX: '172.16.1.100/31' },
          `- from: 172.16.1.101/32\n${rule}\n  routes:\n    - prefix: 172.16.1.100/32\n`,
        )
      await mesh.apply(
        yamlOf(
          namespace('two'),
          serving('aware-1', '  proto: 6\n  dstport: 6666'),
          serving('aware-2', '  proto: 17\n  dstport: 5555'),
          requester('two', 'nsc', { NSM_NETWORK_SERVICES: urls, NSM_AWARENESS_GROUPS: `[${urls}]` }),
        ),
      )
      await mesh.ready('two', 3)
      await waitFor('both connections', async () => {
        const rows = await connectionsOf(mesh, 'two', 'nsc').catch(() => [])
        return rows.length === 2 && rows.every(({ state }) => state === 'UP')
          ? true
          : new Error(JSON.stringify(rows))
      })
      const way = async (ports: string): Promise<string> =>
        mesh.inPod('two', 'nsc', `ip r get 172.16.1.100 from 172.16.1.101 ipproto ${ports}`)
      t.match(await way('tcp dport 6666'), /^172\.16\.1\.100 from 172\.16\.1\.101 dev nsm-1 table \d /)
      t.match(await way('udp dport 5555'), /^172\.16\.1\.100 from 172\.16\.1\.101 dev nsm-2 table \d /)
      // Which of the two was made first is not said.
      const addresses = await mesh.inPod('two', 'nsc', 'ip -4 -o addr')
      t.match(addresses, /nsm-1 +inet 172\.16\.1\.101/)
      t.match(addresses, /nsm-2 +inet 172\.16\.1\.101/)
    })
  },
)
