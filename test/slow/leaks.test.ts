import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { idlePod } from '../kit/idle-pod.ts'
import { localMesh, noLocalMeshWith, waitFor, type LocalMesh } from '../kit/local-mesh.ts'
import {
  connectionOf,
  descriptorsOf,
  extrasIn,
  interfacesIn,
  metricOf,
  pidOf,
  pidsOf,
  residentMegabytes,
  sandboxOf,
} from '../kit/mesh-processes.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const program = fileURLToPath(new URL('../kit/churn.js', import.meta.url))
const skip = noLocalMeshWith(program)
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 280_000 }
/** Of each part: a busy machine may take its time. */
const patient = { timeout: 200_000 }

const ns = 'leaks'
const nse = [ns, 'nse'] as const
const url = 'kernel://leaking/nsm-1'
const lowest = ['172.16.1.97/32']
const tokenSeconds = 20
const programs = ['nsmgr', 'forwarder', 'registry', 'icmp-responder'] as const
/** The endpoint's metrics, as it sees them itself. */
const own = { address: '127.0.0.1:9081' }

async function churn(mesh: LocalMesh, rounds: number, atOnce: number): Promise<readonly string[]> {
  const command = [process.execPath, program, 'leaking', String(rounds), String(atOnce)]
  const { code, stdout, stderr } = await mesh.nsm(['exec', '-n', ns, 'churner', '--', ...command])
  if (code !== 0) throw new Error(`churn: ${stdout}${stderr}`)
  return JSON.parse(stdout) as string[]
}

/** Waits until the counts of connections are these, everywhere. */
async function counted(mesh: LocalMesh, wanted: number): Promise<void> {
  for (const where of ['nsmgr', 'forwarder', own] as const)
    await waitFor(`${wanted} connections at ${JSON.stringify(where)}`, async () => {
      const samples = await metricOf(mesh, nse, where, 'nsm_connections')
      const sum = Object.values(samples).reduce((all, count) => all + count, 0)
      return sum === wanted ? true : new Error(JSON.stringify(samples))
    })
}

/** Waits until neither of the pods has more than what every pod has. */
async function bare(mesh: LocalMesh, ...pods: readonly string[]): Promise<void> {
  for (const pod of pods)
    await waitFor(`nothing of ours in ${pod}`, async () => {
      const left = await extrasIn(mesh, ns, pod)
      return left === '' ? true : new Error(left)
    })
}

interface Usage {
  /** Namespaces, sockets and whatever else, by process and kind. */
  readonly descriptors: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly megabytes: Readonly<Record<string, number>>
}

function usage(mesh: LocalMesh): Usage {
  const of = <T>(look: (pid: number) => T): Record<string, T> =>
    Object.fromEntries(programs.map((name) => [name, look(pidOf(mesh, name))]))
  return { descriptors: of(descriptorsOf), megabytes: of(residentMegabytes) }
}

/** Sessions of a pool may come and go; nothing else may be more than it was. */
function isNoMore(t: Test, before: Usage, after: Usage): void {
  for (const name of programs) {
    for (const [kind, count] of Object.entries(after.descriptors[name] ?? {})) {
      const slack = kind === 'socket' ? 8 : 0
      const most = (before.descriptors[name]?.[kind] ?? 0) + slack
      t.ok(count <= most, `${name}: ${kind}: ${count}, at most ${most}`)
    }
    const [was = 0, is = 0] = [before.megabytes[name], after.megabytes[name]]
    t.ok(is < was + 40, `${name}: ${was.toFixed(0)} MB before, ${is.toFixed(0)} MB after`)
  }
}

t.test('what is closed is gone', settings, async (t) => {
  const mesh = await localMesh(t, '--token-lifetime', String(tokenSeconds))
  const pool = { NSM_SERVICE_NAMES: 'leaking', NSM_CIDR_PREFIX: '172.16.1.96/27' }
  await mesh.apply(yamlOf(namespace(ns), endpoint(...nse, pool), idlePod(ns, 'churner')))
  await mesh.ready(ns, 2)

  t.test('connections of a program, one after another and 10 at once', patient, async (t) => {
    t.same(await churn(mesh, 20, 1), lowest)
    await churn(mesh, 2, 10)
    const before = usage(mesh)
    t.same(await churn(mesh, 100, 1), lowest, 'the lowest address is free each time')
    t.equal((await churn(mesh, 10, 10)).length, 10)
    await bare(mesh, 'churner', 'nse')
    await counted(mesh, 0)
    t.same(await churn(mesh, 1, 1), lowest)
    isNoMore(t, before, usage(mesh))
  })

  t.test('pods that are applied and deleted', patient, async (t) => {
    const names = Array.from({ length: 10 }, (_, i) => `pod-${i}`)
    const before = usage(mesh)
    for (let round = 0; round < 2; round++) {
      await mesh.apply(yamlOf(...names.map((name) => client(ns, name, url))))
      await mesh.ready(ns, 12)
      t.equal((await interfacesIn(mesh, ...nse)).length, 10)
      const deleted = await Promise.all(names.map((name) => mesh.nsm(['delete', 'pod', '-n', ns, name])))
      t.ok(deleted.every(({ code }) => code === 0))
      await bare(mesh, 'nse')
      await counted(mesh, 0)
    }
    isNoMore(t, before, usage(mesh))
    t.same(await churn(mesh, 1, 1), lowest)
  })

  t.test('a pod that is killed, sandbox and all', patient, async (t) => {
    await mesh.apply(yamlOf(client(ns, 'killed', url)))
    await mesh.ready(ns, 3)
    const [index] = await interfacesIn(mesh, ...nse)
    process.kill(sandboxOf(mesh, 'killed'), 'SIGKILL')
    await waitFor('the end in the other pod to go', async () => {
      const left = await interfacesIn(mesh, ...nse)
      return index !== undefined && left.includes(index) ? new Error(left.join()) : true
    })
    // The mesh starts it again under its name: that is a new client.
    await mesh.ready(ns, 3)
    await connectionOf(mesh, [ns, 'killed'])
    await counted(mesh, 1)
    t.equal((await mesh.nsm(['delete', 'pod', '-n', ns, 'killed'])).code, 0)
    await bare(mesh, 'nse')
    await counted(mesh, 0)
    t.same(await churn(mesh, 1, 1), lowest)
  })

  t.test('a client that dies while its pod lives', patient, async (t) => {
    await mesh.apply(yamlOf(withClient('mute')))
    await waitFor('its interface', async () => {
      const found = await interfacesIn(mesh, ...nse)
      return found.length === 1 ? true : new Error(found.join())
    })
    const [pid] = pidsOf(mesh, 'sidecar')
    if (pid === undefined) throw new Error('no client runs')
    process.kill(pid, 'SIGKILL')
    await counted(mesh, 0)
    await bare(mesh, 'nse', 'mute')
    t.same(await churn(mesh, 1, 1), lowest)
  })
})

/** A pod whose client is not started again. */
function withClient(name: string): object {
  const pod = idlePod(ns, name)
  const [app] = pod.spec.containers
  const once = {
    name: 'once',
    image: 'sidecar',
    env: Object.entries({
      SPIFFE_ENDPOINT_SOCKET: 'unix:///run/spire/sockets/agent.sock',
      NSM_NAME: name,
      NSM_NETWORK_SERVICES: url,
    }).map(([variable, value]) => ({ name: variable, value })),
    volumeMounts: app.volumeMounts,
  }
  return { ...pod, spec: { ...pod.spec, restartPolicy: 'Never', containers: [app, once] } }
}
