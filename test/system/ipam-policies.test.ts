import t from 'tap'
import { localMesh, noLocalMesh, waitFor } from '../kit/local-mesh.ts'
import { client, endpoint, namespace, requester, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 180_000 }

t.test('a strict endpoint instead of a polite one gives its own addresses', settings, async (t) => {
  const mesh = await localMesh(t)
  const serving = (name: string, policy: string, prefix: string): object =>
    endpoint('ipam', name, {
      NSM_SERVICE_NAMES: 'policed',
      NSM_IPAM_POLICY: policy,
      NSM_CIDR_PREFIX: prefix,
      NSM_REGISTER_SERVICE: 'false',
    })
  const service = {
    apiVersion: 'networkservicemesh.io/v1',
    kind: 'NetworkService',
    metadata: { name: 'policed', namespace: 'ipam' },
  }
  await mesh.apply(
    yamlOf(
      namespace('ipam'),
      service,
      serving('nse-polite', 'polite', '172.16.1.0/29'),
      client('ipam', 'nsc-1', 'kernel://policed/nsm-1'),
      client('ipam', 'nsc-2', 'kernel://policed/nsm-2'),
    ),
  )
  await mesh.ready('ipam', 3)
  const clients = [
    ['nsc-1', 'nsm-1'],
    ['nsc-2', 'nsm-2'],
  ] as const
  const routes = async (): Promise<readonly string[]> =>
    Promise.all(clients.map(async ([pod, dev]) => mesh.inPod('ipam', pod, `ip r show dev ${dev} || true`)))
  const connected = async (nse: string, net: string): Promise<void> => {
    t.same((await routes()).toSorted(), [`${net}.0`, `${net}.2`])
    for (const [i, [pod]] of clients.entries())
      await mesh.inPod('ipam', pod, `ping -c 1 -W 5 ${(await routes())[i]}`)
    for (const host of [1, 3]) await mesh.inPod('ipam', nse, `ping -c 1 -W 5 ${net}.${host}`)
  }
  await connected('nse-polite', '172.16.1')

  t.equal((await mesh.nsm(['delete', 'pod', '-n', 'ipam', 'nse-polite'])).code, 0)
  await mesh.apply(yamlOf(serving('nse-strict', 'strict', '172.16.2.0/29')))
  await waitFor('both clients to move', async () => {
    const now = await routes()
    return now.every((route) => /^172\.16\.2\.[02]$/.test(route)) ? true : new Error(now.join())
  })
  await connected('nse-strict', '172.16.2')
})

t.test('a client whose tokens are over gets nothing', settings, async (t) => {
  const mesh = await localMesh(t)
  const variables = { NSM_NETWORK_SERVICES: 'kernel://over/nsm-1', NSM_MAX_TOKEN_LIFETIME: '-1m' }
  await mesh.apply(
    yamlOf(
      namespace('opa'),
      endpoint('opa', 'nse', { NSM_SERVICE_NAMES: 'over' }),
      requester('opa', 'nsc', variables),
    ),
  )
  await waitFor('the refusal in the log', async () => {
    const { stdout } = await mesh.nsm(['logs', '-n', 'opa', 'nsc', '-c', 'nsc'])
    return stdout.includes('PermissionDenied desc = no sufficient privileges') ? true : new Error(stdout)
  })
  t.equal(await mesh.inPod('opa', 'nsc', 'ip -o link | grep -c nsm-1 || true'), '0')
})
