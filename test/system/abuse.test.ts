import { fileURLToPath } from 'node:url'
import { x509Source } from '@nsm/spiffe/workload-api.js'
import t from 'tap'
import type { Self } from '../kit/hostile/main.ts'
import type { Attempt, Orders } from '../kit/hostile/session.ts'
import { idlePod } from '../kit/idle-pod.ts'
import { localMesh, noLocalMeshWith, type LocalMesh } from '../kit/local-mesh.ts'
import { connectionOf, extrasIn, metricOf, pidOf } from '../kit/mesh-processes.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'
import { partLog } from '../kit/part-log.ts'
import { until } from '../kit/until.ts'

const program = fileURLToPath(new URL('../kit/hostile/main.js', import.meta.url))
const skip = noLocalMeshWith(program)
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 180_000 }

/** Prefix of an attempt's name → what it may be refused with. */
const refusals: Readonly<Record<string, RegExp>> = {
  'token of 1 MiB': /RESOURCE_EXHAUSTED|INVALID_ARGUMENT|UNAVAILABLE|INTERNAL/,
  token: /PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT/,
  path: /INVALID_ARGUMENT|PERMISSION_DENIED|RESOURCE_EXHAUSTED/,
  refresh: /PERMISSION_DENIED/,
  reselect: /PERMISSION_DENIED/,
  close: /PERMISSION_DENIED/,
  monitor: /NOT_FOUND/,
  interface: /INVALID_ARGUMENT|FAILED_PRECONDITION/,
  netns: /PERMISSION_DENIED|INVALID_ARGUMENT/,
  endpoint: /PERMISSION_DENIED/,
  service: /PERMISSION_DENIED/,
  identity: /UNAVAILABLE|UNAUTHENTICATED/,
  no: /UNAVAILABLE/,
}

async function run(mesh: LocalMesh, pod: string, mode: string, input = ''): Promise<unknown> {
  const command = ['exec', '-n', 'abuse', pod, '--', process.execPath, program, mode]
  const { code, stdout, stderr } = await mesh.nsm(command, input)
  if (code !== 0) throw new Error(`${mode} in ${pod}: ${stdout}${stderr}`)
  return JSON.parse(stdout)
}

/** All that may not change by what others try. */
async function state(mesh: LocalMesh): Promise<object> {
  const {
    addresses,
    endpointAddresses,
    path,
    state: up,
    heals,
  } = await connectionOf(mesh, ['abuse', 'victim'])
  const extras = await Promise.all(
    ['victim', 'nse', 'thief', 'other'].map((pod) => extrasIn(mesh, 'abuse', pod)),
  )
  const counts = await Promise.all(
    (['nsmgr', 'forwarder', { address: '127.0.0.1:9081' }] as const).map((where) =>
      metricOf(mesh, ['abuse', 'nse'], where, 'nsm_connections'),
    ),
  )
  const programs = ['nsmgr', 'forwarder', 'registry', 'icmp-responder', 'sidecar', 'webhook']
  const pids = programs.map((name) => pidOf(mesh, name))
  return {
    addresses,
    endpointAddresses,
    path: path.map(({ name, id }) => `${name} ${id}`),
    up,
    heals: heals.count,
    extras,
    counts,
    pids,
  }
}

t.test('a pod that means harm is refused, named in the log, and changes nothing', settings, async (t) => {
  const mesh = await localMesh(t)
  const pool = { NSM_SERVICE_NAMES: 'abused', NSM_CIDR_PREFIX: '172.16.1.96/28' }
  await mesh.apply(
    yamlOf(
      namespace('abuse'),
      endpoint('abuse', 'nse', pool),
      idlePod('abuse', 'thief'),
      idlePod('abuse', 'other'),
      client('abuse', 'victim', 'kernel://abused/nsm-1'),
    ),
  )
  await mesh.ready('abuse', 4)
  const victim = await connectionOf(mesh, ['abuse', 'victim'])
  const other = (await run(mesh, 'other', 'self')) as Self
  const inode = /\[(\d+)\]/.exec(await mesh.inPod('abuse', 'victim', 'readlink /proc/self/ns/net'))?.[1]
  const orders: Orders = {
    trustDomain: 'k8s.nsm',
    service: 'abused',
    victim: victim.path.map(({ name, id }) => ({ name, id })),
    stolenToken: other.token,
    otherId: other.id,
    endpointName: victim.endpoint,
    victimNetns: `inode://4/${inode}`,
    registryUrl: 'tcp://10.199.0.1:5002',
    managerTcpUrl: 'tcp://10.199.0.11:5001',
  }
  // A link-local address is tried for a second or two, and has its route only then.
  await until(
    'link-local addresses are settled',
    async () => !/ tentative/.test(JSON.stringify(await state(mesh))),
  )
  const before = await state(mesh)
  const results = (await run(mesh, 'thief', 'attack', JSON.stringify(orders))) as Record<string, Attempt>

  const names = Object.keys(results)
  t.ok(names.length > 80, `${names.length} attempts`)
  for (const [name, { code, message }] of Object.entries(results)) {
    const wanted = Object.entries(refusals).find(([prefix]) => name.startsWith(prefix))?.[1]
    t.match(code, wanted ?? /never/, `${name}: ${code} ${message}`)
    t.ok(code === 'NOT_FOUND' || message.length > 15, `${name}: ${message}`)
  }
  t.same(await state(mesh), before, 'nothing has changed')
  t.match(
    await mesh.inPod('abuse', 'victim', `ping -c 1 -W 5 ${victim.endpointAddresses[0]?.split('/')[0]}`),
    / 0% packet loss/,
  )

  t.test('each part has named the one who tried', async (t) => {
    const thief = 'spiffe://k8s.nsm/ns/abuse/pod/thief'
    for (const [part, codes] of [
      ['nsmgr-node-1', ['PERMISSION_DENIED', 'INVALID_ARGUMENT']],
      ['forwarder-node-1', ['PERMISSION_DENIED']],
      ['registry', ['PERMISSION_DENIED']],
    ] as const) {
      const lines = partLog(mesh, part).filter(({ spiffe_id: id }) => id === thief)
      for (const code of codes)
        t.ok(
          lines.some((line) => line['code'] === code),
          `${part} ${code}`,
        )
    }
    for (const part of ['nsmgr-node-1', 'forwarder-node-1', 'registry'])
      t.ok(
        partLog(mesh, part).some(({ msg, code }) => msg === 'connection refused' && code !== undefined),
        `${part} tells of foreign identities`,
      )
  })

  t.test('who is no pod gets no identity', async (t) => {
    const address = `unix:///run/nsm/${mesh.name}/spire/agent.sock`
    const problems: string[] = []
    const got = x509Source({
      address,
      signal: AbortSignal.timeout(2_000),
      onProblem: (err) => problems.push(`${(err as { code?: string }).code} ${err.message}`),
    })
    await t.rejects(got)
    t.match(problems[0], /PERMISSION_DENIED/)
  })
})
