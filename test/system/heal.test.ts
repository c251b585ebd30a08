import t from 'tap'
import { localMesh, noLocalMesh, podsOf, waitFor } from '../kit/local-mesh.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
t.setTimeout(300_000)

t.test(
  'a client moves on when its endpoint is gone',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const mesh = await localMesh(t)
    const service = {
      apiVersion: 'networkservicemesh.io/v1',
      kind: 'NetworkService',
      metadata: { name: 'healing', namespace: 'heal' },
    }
    const serving = (name: string, prefix: string, policy: string): object =>
      endpoint('heal', name, {
        NSM_SERVICE_NAMES: 'healing',
        NSM_CIDR_PREFIX: prefix,
        NSM_IPAM_POLICY: policy,
      })
    await mesh.apply(yamlOf(namespace('heal'), service, serving('nse-a', '172.16.1.100/31', 'polite')))
    await mesh.ready('heal', 1)
    await mesh.apply(yamlOf(client('heal', 'nsc', 'kernel://healing/nsm-1')))
    await mesh.ready('heal', 2)
    await mesh.inPod('heal', 'nsc', 'ping -c 1 -W 2 172.16.1.100')
    await mesh.apply(yamlOf(serving('nse-b', '172.16.2.100/31', 'strict')))
    await mesh.ready('heal', 3)

    const before = (await podsOf(mesh, 'heal')).find(({ name }) => name === 'nsc')
    await mesh.nsm(['delete', 'pod', '-n', 'heal', 'nse-a'])
    await waitFor('the second endpoint to serve', async () => {
      const { code, stdout } = await mesh.nsm([
        'exec',
        '-n',
        'heal',
        'nsc',
        '--',
        'ping',
        '-c',
        '1',
        '-W',
        '1',
        '172.16.2.100',
      ])
      return code === 0 ? true : new Error(stdout)
    })
    t.equal(
      await mesh.inPod('heal', 'nsc', 'ip -4 -o addr show dev nsm-1 | awk "{print \\$4}"'),
      '172.16.2.101/32',
    )
    t.equal(await mesh.inPod('heal', 'nsc', 'ip route show dev nsm-1'), '172.16.2.100')
    const after = (await podsOf(mesh, 'heal')).find(({ name }) => name === 'nsc')
    t.match(after, { uid: before?.uid, containers: before?.containers.map(({ restarts }) => ({ restarts })) })
  },
)
