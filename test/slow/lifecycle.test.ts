import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { localMesh, noLocalMesh, nsm, waitFor, type LocalMesh } from '../kit/local-mesh.ts'
import { connectionOf, fileOf } from '../kit/mesh-processes.ts'
import { asking, answering } from '../kit/pod-traffic.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 280_000 }

/** All processes that a process has started, and those that these have. */
function descendants(pid: number): readonly number[] {
  const children = fileOf(pid, `task/${pid}/children`)
    .split(' ')
    .map(Number)
    .filter((child) => child > 0)
  return children.flatMap((child) => [child, ...descendants(child)])
}

/** What this machine itself has: links of the own network namespace, mounts, named network namespaces. */
function machine(name: string): object {
  const links = execFileSync('ip', ['-o', 'link', 'show'], { encoding: 'utf8' }).split('\n')
  const folder = '/var/run/netns'
  return {
    links: links.map((line) => /^\d+: [^:]+/.exec(line)?.[0] ?? '').toSorted(),
    mounts: fileOf(process.pid, 'mountinfo')
      .split('\n')
      .filter((line) => line.includes(name)),
    names: existsSync(folder) ? readdirSync(folder) : [],
  }
}

/** Nothing of a mesh is left: processes, folder, mounts, links. */
async function isGone(t: Test, name: string, pids: readonly number[], before: object): Promise<void> {
  t.ok(pids.length > 5, `${pids.length} processes were there`)
  await waitFor('all processes to be gone', async () => {
    const left = pids.filter((pid) => existsSync(`/proc/${pid}/ns/net`))
    return left.length === 0 ? true : new Error(left.map((pid) => fileOf(pid, 'cmdline')).join('\n'))
  })
  t.same(machine(name), before)
}

function up(name: string, program: string): ChildProcess {
  return spawn(process.execPath, [program, 'up', '--name', name], { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** Waits until it has said so. */
async function said(child: ChildProcess, word: string): Promise<void> {
  let text = ''
  for await (const chunk of child.stderr ?? []) {
    text += String(chunk)
    if (text.includes(word)) return
  }
  throw new Error(`it never said ${word}: ${text}`)
}

async function connected(mesh: LocalMesh): Promise<void> {
  const pool = { NSM_SERVICE_NAMES: 'same', NSM_CIDR_PREFIX: '172.16.1.96/29' }
  const pods = [endpoint('twin', 'nse', pool), client('twin', 'nsc', 'kernel://same/nsm-1')]
  await mesh.apply(yamlOf(namespace('twin'), ...pods))
  await mesh.ready('twin', 2)
  await mesh.inPod('twin', 'nsc', 'ping -c 1 -W 5 172.16.1.96')
}

t.test('two meshes do not know of each other, and one may die', settings, async (t) => {
  const [a, b] = [await localMesh(t), await localMesh(t)]
  await Promise.all([connected(a), connected(b)])
  await answering(t, b, ['twin', 'nse'])
  const traffic = await asking(t, b, ['twin', 'nsc'], '172.16.1.96')
  const before = machine(a.name)
  const { pid = 0 } = a.process
  const all = descendants(pid)
  for (const one of [pid, ...all.slice(0, 1)]) process.kill(one, 'SIGKILL')
  await isGone(t, a.name, all, before)
  t.equal((await a.nsm(['up', '--detach'])).code, 0, 'the same name comes up again')
  t.equal((await a.nsm(['down'])).code, 0)
  t.notOk(existsSync(`/run/nsm/${a.name}`))
  const { lost, sent, ping } = await traffic.stop()
  t.equal(lost + ping.sent - ping.received, 0, `of ${sent}`)
  t.equal((await connectionOf(b, ['twin', 'nsc'])).state, 'UP')
})

t.test('nsm up killed while it starts, and after Ctrl-C', settings, async (t) => {
  const { program } = await localMesh(t)
  const name = `l${process.pid}`
  t.teardown(async () => nsm(['down', '--name', name]))
  const before = machine(name)

  const first = up(name, program)
  await said(first, 'is ready')
  const started = descendants(first.pid ?? 0)
  first.kill('SIGKILL')
  await isGone(t, name, started, before)

  const second = up(name, program)
  await said(second, 'Ctrl-C ends it')
  const running = descendants(second.pid ?? 0)
  second.kill('SIGINT')
  const [code] = (await once(second, 'exit')) as [number | null]
  t.equal(code, 0)
  await isGone(t, name, running, before)
  t.notOk(existsSync(`/run/nsm/${name}`))
})
