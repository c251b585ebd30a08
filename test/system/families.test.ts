import t from 'tap'
import { localMesh, noLocalMesh } from '../kit/local-mesh.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
const v6 = '2001:db8::/116'

t.test(
  'IPv6, and IPv6 beside IPv4',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const mesh = await localMesh(t)
    const ping = async (pod: readonly [string, string], to: string): Promise<void> => {
      await mesh.inPod(...pod, `ping -c 1 -W 5 ${to}`)
    }

    for (const payload of ['ETHERNET', 'IP']) {
      const kind = payload.toLowerCase()

      t.test(`two families, payload ${payload}`, async (t) => {
        const space = `dual-${kind}`
        const variables = {
          NSM_SERVICE_NAMES: space,
          NSM_PAYLOAD: payload,
          NSM_CIDR_PREFIX: `172.16.1.100/31,${v6}`,
        }
        await mesh.apply(
          yamlOf(
            namespace(space),
            endpoint(space, `nse-${space}`, variables),
            client(space, 'nsc', `kernel://${space}/nsm-1`),
          ),
        )
        await mesh.ready(space, 2)
        await ping([space, 'nsc'], '2001:db8::')
        await ping([space, `nse-${space}`], '2001:db8::1')
        await ping([space, 'nsc'], '172.16.1.100')
        await ping([space, `nse-${space}`], '172.16.1.101')
        t.equal(await mesh.inPod(space, 'nsc', 'ip route show dev nsm-1'), '172.16.1.100')
        t.match(await mesh.inPod(space, 'nsc', 'ip -6 route show dev nsm-1'), /^2001:db8:: metric/)
        const neighbours = await mesh.inPod(space, 'nsc', 'ip neigh show dev nsm-1 nud permanent')
        t.equal(neighbours.includes('172.16.1.100'), payload === 'IP', neighbours)
      })

      t.test(`IPv6 alone, payload ${payload}`, async (t) => {
        const space = `six-${kind}`
        const variables = { NSM_SERVICE_NAMES: space, NSM_PAYLOAD: payload, NSM_CIDR_PREFIX: v6 }
        await mesh.apply(
          yamlOf(
            namespace(space),
            endpoint(space, `nse-${space}`, variables),
            client(space, 'nsc', `kernel://${space}/nsm-1`),
          ),
        )
        await mesh.ready(space, 2)
        await ping([space, 'nsc'], '2001:db8::')
        await ping([space, `nse-${space}`], '2001:db8::1')
        t.equal(await mesh.inPod(space, 'nsc', 'ip -4 addr show dev nsm-1'), '')
      })
    }
  },
)
