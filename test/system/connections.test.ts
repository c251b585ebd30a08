import t from 'tap'
import { localMesh, noLocalMesh } from '../kit/local-mesh.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
t.setTimeout(300_000)
const excluded = ['--exclude-prefix', '172.16.1.201/32', '--exclude-prefix', '172.16.1.202/32']

t.test(
  'scenarios of connections on one node',
  { ...(skip === undefined ? {} : { skip }), timeout: 240_000 },
  async (t) => {
    const mesh = await localMesh(t, ...excluded)
    const ping = async (from: readonly [string, string], to: string): Promise<string> =>
      mesh.inPod(...from, `ping -c 1 -W 2 ${to} > /dev/null && echo ${to}`)

    t.test('kernel to kernel, with the pool that everybody uses', async (t) => {
      const pool = { NSM_SERVICE_NAMES: 'first', NSM_CIDR_PREFIX: '172.16.1.100/31' }
      await mesh.apply(
        yamlOf(namespace('one'), endpoint('one', 'nse', pool), client('one', 'nsc', 'kernel://first/nsm-1')),
      )
      await mesh.ready('one', 2)
      t.equal(await ping(['one', 'nsc'], '172.16.1.100'), '172.16.1.100')
      t.equal(await ping(['one', 'nse'], '172.16.1.101'), '172.16.1.101')
      t.equal(await mesh.inPod('one', 'nsc', 'ip route show dev nsm-1'), '172.16.1.100')
      const routes = await mesh.inPod('one', 'nsc', 'ip route show dev eth0')
      t.match(routes, /^default via 10\.244\.0\.1 \n10\.244\.0\.0\/24 proto kernel scope link/)
      t.match(await mesh.inPod('one', 'nsc', 'cat /proc/1/cmdline'), /nsm-run/)
      const { stdout } = await mesh.nsm(['status', '-n', 'one', 'nsc'])
      t.match(stdout, /one +nsc +first +UP +\S+ +nsm-1 +172\.16\.1\.101\/32 +172\.16\.1\.100\/32 +nse/)
      t.match(stdout, /nsmgr-node-1 +[\d.]+ ms +spiffe:\/\/k8s\.nsm\/ns\/nsm-system\/pod\/nsmgr-node-1/)
      t.equal((await mesh.nsm(['delete', 'namespace', 'one'])).code, 0)
      t.equal((await mesh.nsm(['get', 'pods', '-n', 'one', '-o', 'json'])).stdout.trim(), '[]')
    })

    t.test('an annotated namespace is enough', async (t) => {
      const annotated = namespace('two', {
        annotations: { 'networkservicemesh.io': 'kernel://second/nsm-1' },
      })
      const pool = { NSM_SERVICE_NAMES: 'second', NSM_CIDR_PREFIX: '172.16.1.100/31' }
      await mesh.apply(yamlOf(annotated, namespace('two-nse'), endpoint('two-nse', 'nse-2', pool)))
      await mesh.apply(yamlOf(client('two', 'nsc')))
      await mesh.ready('two', 1)
      t.equal(await ping(['two', 'nsc'], '172.16.1.100'), '172.16.1.100')
      t.equal(await ping(['two-nse', 'nse-2'], '172.16.1.101'), '172.16.1.101')
    })

    t.test('excluded prefixes are left out of the pool', async (t) => {
      const pool = { NSM_SERVICE_NAMES: 'third', NSM_CIDR_PREFIX: '172.16.1.200/30' }
      await mesh.apply(
        yamlOf(
          namespace('three'),
          endpoint('three', 'nse-3', pool),
          client('three', 'nsc', 'kernel://third/nsm-1'),
        ),
      )
      await mesh.ready('three', 2)
      t.equal(await ping(['three', 'nsc'], '172.16.1.200'), '172.16.1.200')
      t.equal(await ping(['three', 'nse-3'], '172.16.1.203'), '172.16.1.203')
    })

    t.test('two services with one pool do not give one client the same address twice', async (t) => {
      const pool = (service: string): Record<string, string> => ({
        NSM_SERVICE_NAMES: service,
        NSM_CIDR_PREFIX: '172.16.1.96/29',
      })
      await mesh.apply(
        yamlOf(
          namespace('four'),
          endpoint('four', 'nse-4a', pool('fourth-a')),
          endpoint('four', 'nse-4b', pool('fourth-b')),
          client('four', 'nsc', 'kernel://fourth-a/nsm-1,kernel://fourth-b/nsm-2'),
        ),
      )
      await mesh.ready('four', 3)
      const addresses = await mesh.inPod('four', 'nsc', "ip -4 -o addr show | awk '/nsm-/{print $4}' | sort")
      t.equal(addresses, '172.16.1.97/32\n172.16.1.99/32')
      t.equal(await ping(['four', 'nsc'], '172.16.1.96'), '172.16.1.96')
      t.equal(await ping(['four', 'nsc'], '172.16.1.98'), '172.16.1.98')
    })

    t.test('one annotation, two services', async (t) => {
      const one = { NSM_SERVICE_NAMES: 'fifth-a', NSM_CIDR_PREFIX: '172.16.1.100/31' }
      const two = { NSM_SERVICE_NAMES: 'fifth-b', NSM_CIDR_PREFIX: '172.16.2.100/31' }
      await mesh.apply(
        yamlOf(
          namespace('five'),
          endpoint('five', 'nse-5a', one),
          endpoint('five', 'nse-5b', two),
          client('five', 'nsc', 'kernel://fifth-a/nsm-1,kernel://fifth-b/nsm-2'),
        ),
      )
      await mesh.ready('five', 3)
      for (const [from, to] of [
        ['nsc', '172.16.1.100'],
        ['nsc', '172.16.2.100'],
        ['nse-5a', '172.16.1.101'],
        ['nse-5b', '172.16.2.101'],
      ] as const)
        t.equal(await ping(['five', from], to), to)
    })
  },
)
