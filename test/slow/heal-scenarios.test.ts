import t, { type Test } from 'tap'
import { localMesh, noLocalMesh, waitFor, type LocalMesh } from '../kit/local-mesh.ts'
import { connectionOf, pidOf, restartsOf } from '../kit/mesh-processes.ts'
import { client, namespace, yamlOf } from '../kit/pods.ts'
import { fivePolicies, followsFivePolicies, policyEndpoint } from '../kit/policies.ts'

const skip = noLocalMesh()
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 280_000 }
/** Of each part: a busy machine may take its time. */
const patient = { timeout: 120_000 }

const nsc = ['heal', 'nsc'] as const
const url = 'kernel://healing/nsm-1'
const service = {
  apiVersion: 'networkservicemesh.io/v1',
  kind: 'NetworkService',
  metadata: { name: 'healing', namespace: 'heal' },
}

function serving(name: string, prefix: string): object {
  const variables = {
    NSM_SERVICE_NAMES: 'healing',
    NSM_REGISTER_SERVICE: 'false',
    NSM_CIDR_PREFIX: prefix,
  }
  return policyEndpoint('heal', name, variables, fivePolicies)
}

/** Both ends reach each other, the client's routes are as its policies want them. */
async function works(
  t: Test,
  mesh: LocalMesh,
  nse: string,
  [ours, theirs]: readonly [client: string, endpoint: string],
): Promise<void> {
  await mesh.inPod(...nsc, `ping -c 1 -W 5 ${theirs}`)
  await mesh.inPod('heal', nse, `ping -c 1 -W 5 ${ours}`)
  await followsFivePolicies(t, mesh, nsc, ours)
}

async function killParts(mesh: LocalMesh, parts: readonly string[]): Promise<void> {
  const before = await Promise.all(parts.map(async (part) => restartsOf(mesh, part)))
  for (const pid of parts.map((part) => pidOf(mesh, part))) process.kill(pid, 'SIGKILL')
  for (const [i, part] of parts.entries())
    await waitFor(`${part} to be back`, async () => {
      const now = await restartsOf(mesh, part)
      return now > (before[i] ?? 0) ? true : new Error(`${now} restarts`)
    })
}

/** Waits until the client has an endpoint with this address. */
async function servedBy(mesh: LocalMesh, address: string): Promise<void> {
  await connectionOf(
    mesh,
    nsc,
    ({ state, endpointAddresses }) => state === 'UP' && endpointAddresses.includes(`${address}/32`),
  )
}

async function deletePod(mesh: LocalMesh, name: string): Promise<void> {
  const { code, stderr } = await mesh.nsm(['delete', 'pod', '-n', 'heal', name])
  if (code !== 0) throw new Error(stderr)
}

t.test('connections with policy routes outlive what dies', settings, async (t) => {
  const mesh = await localMesh(t, '--token-lifetime', '30')
  await mesh.apply(
    yamlOf(namespace('heal'), service, serving('nse-a', '172.16.1.100/30'), client(...nsc, url)),
  )
  await mesh.ready('heal', 2)
  const first = ['172.16.1.101', '172.16.1.100'] as const
  await works(t, mesh, 'nse-a', first)

  for (const parts of [['forwarder'], ['nsmgr'], ['registry', 'nsmgr', 'forwarder', 'webhook']])
    t.test(`${parts.join(', ')} restarted`, patient, async (t) => {
      const { requests } = await connectionOf(mesh, nsc)
      await killParts(mesh, parts)
      const least = requests.succeeded + 1
      await connectionOf(mesh, nsc, ({ state, requests }) => state === 'UP' && requests.succeeded >= least)
      await works(t, mesh, 'nse-a', first)
    })

  t.test('the registry restarted, and a new client', patient, async (t) => {
    await killParts(mesh, ['registry'])
    await works(t, mesh, 'nse-a', first)
    await mesh.apply(yamlOf(client('heal', 'nsc-new', url)))
    await connectionOf(mesh, ['heal', 'nsc-new'])
    await mesh.inPod('heal', 'nsc-new', 'ping -c 1 -W 5 172.16.1.102')
    await mesh.inPod('heal', 'nse-a', 'ping -c 1 -W 5 172.16.1.103')
    await deletePod(mesh, 'nsc-new')
  })

  t.test('the registry restarted, and another endpoint instead of the old one', patient, async (t) => {
    await Promise.all([killParts(mesh, ['registry']), deletePod(mesh, 'nse-a')])
    await mesh.apply(yamlOf(serving('nse-b', '172.16.1.102/31')))
    await servedBy(mesh, '172.16.1.102')
    await works(t, mesh, 'nse-b', ['172.16.1.103', '172.16.1.102'])
  })

  t.test('no endpoint for a while', patient, async (t) => {
    await deletePod(mesh, 'nse-b')
    await waitFor('the address to be gone', async () => {
      const ping = ['ping', '-c', '1', '-W', '1', '-I', '172.16.1.103', '172.16.1.102']
      const { code, stdout, stderr } = await mesh.nsm(['exec', '-n', ...nsc, '--', ...ping])
      const gone = /Cannot assign|bind|unreachable/i.test(stderr)
      return code !== 0 && gone ? true : new Error(`${code}: ${stdout}${stderr}`)
    })
    await mesh.apply(yamlOf(serving('nse-c', '172.16.1.104/31')))
    await servedBy(mesh, '172.16.1.104')
    await works(t, mesh, 'nse-c', ['172.16.1.105', '172.16.1.104'])
  })
})
