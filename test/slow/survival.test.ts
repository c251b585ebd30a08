import t, { type Test } from 'tap'
import { localMesh, noLocalMesh, waitFor, type LocalMesh } from '../kit/local-mesh.ts'
import {
  connectionOf,
  interfacesIn,
  metricOf,
  pidOf,
  restartsOf,
  type ConnectionRow,
} from '../kit/mesh-processes.ts'
import { answering, asking } from '../kit/pod-traffic.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 280_000 }
/** Of each part: a busy machine may take its time. */
const patient = { timeout: 120_000 }

const nse = ['live', 'nse'] as const
const nsc = ['live', 'nsc'] as const
/** The first addresses of the pool. */
const endpointAddress = '172.16.1.96'
const url = 'kernel://living/nsm-1'
/** Tokens that live so long are refreshed every few seconds. */
const tokenSeconds = 30

/** The endpoint's metrics, as it sees them itself. */
const own = { address: '127.0.0.1:9081' }

/** How many connections a process has. */
async function connectionsAt(mesh: LocalMesh, where: Parameters<typeof metricOf>[2]): Promise<number> {
  const samples = await metricOf(mesh, nse, where, 'nsm_connections')
  return Object.values(samples).reduce((sum, count) => sum + count, 0)
}

/** What of a connection stays as it is when processes are killed. */
async function whatStays(mesh: LocalMesh): Promise<object> {
  const { id, endpoint: serving, addresses, endpointAddresses, path } = await connectionOf(mesh, nsc)
  return {
    connection: {
      id,
      serving,
      addresses,
      endpointAddresses,
      path: path.map((hop) => `${hop.name} ${hop.id}`),
    },
    client: await interfacesIn(mesh, ...nsc),
    endpoint: (await interfacesIn(mesh, ...nse)).length,
    endpointIndex: (await interfacesIn(mesh, ...nse))[0],
  }
}

/** Kills processes at once and waits until each part is there again. */
async function kill(mesh: LocalMesh, programs: readonly string[]): Promise<void> {
  const parts = programs.filter((program) => program !== 'sidecar')
  const before = await Promise.all(parts.map(async (part) => restartsOf(mesh, part)))
  for (const pid of programs.map((program) => pidOf(mesh, program))) process.kill(pid, 'SIGKILL')
  for (const [i, part] of parts.entries())
    await waitFor(`${part} to be back`, async () => {
      const now = await restartsOf(mesh, part)
      return now > (before[i] ?? 0) ? true : new Error(`${now} restarts`)
    })
}

/** A new client gets another address and packets through; then all of it goes again. */
async function newClient(t: Test, mesh: LocalMesh, known: ConnectionRow): Promise<void> {
  await mesh.apply(yamlOf(client('live', 'late', url)))
  await mesh.ready('live', 3)
  const late = await connectionOf(mesh, ['live', 'late'])
  t.not(late.addresses[0], known.addresses[0], 'the address of the living one is not given away')
  const to = late.endpointAddresses[0]?.split('/')[0]
  t.match(await mesh.inPod('live', 'late', `ping -c 1 -W 5 ${to}`), / 0% packet loss/)
  t.equal((await mesh.nsm(['delete', 'pod', '-n', 'live', 'late'])).code, 0)
  await waitFor('its interface to go', async () => {
    const left = await interfacesIn(mesh, ...nse)
    return left.length === 1 ? true : new Error(left.join())
  })
}

t.test('processes of ours die, connections do not', settings, async (t) => {
  const mesh = await localMesh(t, '--token-lifetime', String(tokenSeconds))
  const pool = { NSM_SERVICE_NAMES: 'living', NSM_CIDR_PREFIX: '172.16.1.96/27' }
  await mesh.apply(yamlOf(namespace('live'), endpoint(...nse, pool), client(...nsc, url)))
  await mesh.ready('live', 2)
  const known = await connectionOf(mesh, nsc)
  t.same(known.endpointAddresses, [`${endpointAddress}/32`])
  await answering(t, mesh, nse)

  for (const victims of [
    ['forwarder'],
    ['nsmgr'],
    ['registry'],
    ['sidecar'],
    ['nsmgr', 'forwarder'],
    ['registry', 'nsmgr', 'forwarder'],
  ]) {
    t.test(`${victims.join(', ')} killed`, patient, async (t) => {
      const before = await whatStays(mesh)
      const { requests } = await connectionOf(mesh, nsc)
      const traffic = await asking(t, mesh, nsc, endpointAddress)
      await kill(mesh, victims)
      // Once to heal, and once more where a refresh is to be seen, too.
      const more = victims.length > 1 ? 2 : 1
      const least = victims.includes('sidecar') ? more : requests.succeeded + more
      await connectionOf(mesh, nsc, (row) => row.state === 'UP' && row.requests.succeeded >= least)
      const { sent, lost, ping, missing } = await traffic.stop()
      t.ok(sent > 20 && ping.sent > 20, `${sent} asked, ${ping.sent} pinged`)
      t.equal(lost, 0, `lost of ${sent}: ${missing.join()}`)
      t.equal(ping.sent - ping.received, 0, `pings lost of ${ping.sent}`)
      t.same(await whatStays(mesh), before)
      await newClient(t, mesh, known)
    })
  }

  t.test('a manager that stands still for ten seconds', patient, async (t) => {
    const before = await whatStays(mesh)
    const traffic = await asking(t, mesh, nsc, endpointAddress)
    const { requests } = await connectionOf(mesh, nsc)
    const pid = pidOf(mesh, 'nsmgr')
    process.kill(pid, 'SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    process.kill(pid, 'SIGCONT')
    await connectionOf(mesh, nsc, (row) => row.state === 'UP' && row.requests.succeeded > requests.succeeded)
    const { lost, sent } = await traffic.stop()
    t.equal(lost, 0, `of ${sent}`)
    t.same(await whatStays(mesh), before)
    t.equal(pidOf(mesh, 'nsmgr'), pid, 'nobody killed it')
  })

  t.test('an interface that is set down in the pod is brought back', patient, async () => {
    await mesh.inPod(...nsc, 'ip link set nsm-1 down')
    // By the liveness check, or by a refresh that comes first.
    await waitFor('packets to pass again', async () => {
      const ping = ['ping', '-c', '1', '-W', '1', endpointAddress]
      const { code, stdout } = await mesh.nsm(['exec', '-n', ...nsc, '--', ...ping])
      return code === 0 ? true : new Error(stdout)
    })
    await connectionOf(mesh, nsc)
  })

  t.test('everything but the endpoint killed: nobody knows the connection any more', patient, async (t) => {
    await kill(mesh, ['registry', 'nsmgr', 'forwarder', 'sidecar'])
    const again = await connectionOf(mesh, nsc, (row) => row.state === 'UP' && row.requests.succeeded > 1)
    const to = again.endpointAddresses[0]?.split('/')[0]
    t.match(await mesh.inPod(...nsc, `ping -c 1 -W 5 ${to}`), / 0% packet loss/)
    t.equal((await interfacesIn(mesh, ...nsc)).length, 1)
    t.equal((await interfacesIn(mesh, ...nse)).length, 1, 'the old link went with the new one')
    await waitFor('the endpoint to forget the old one', async () => {
      const up = await connectionsAt(mesh, own)
      return up === 1 ? true : new Error(`${up} connections`)
    })
  })

  t.test('a client that leaves after all this leaves nothing', patient, async (t) => {
    t.equal((await mesh.nsm(['delete', 'pod', '-n', ...nsc])).code, 0)
    await waitFor('the interface to go', async () => {
      const left = await interfacesIn(mesh, ...nse)
      return left.length === 0 ? true : new Error(left.join())
    })
    for (const where of ['nsmgr', 'forwarder', own] as const)
      t.equal(await connectionsAt(mesh, where), 0, JSON.stringify(where))
    await mesh.apply(yamlOf(client(...nsc, url)))
    t.same((await connectionOf(mesh, nsc)).addresses, known.addresses, 'the lowest address is free again')
  })
})
