import { spawn } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { addon, unwrap } from '@nsm/native/addon.js'
import { listenUnix, type UnixSocket } from '@nsm/native/unix-socket.js'
import { startAuthority } from '@nsm/spiffe/authority/authority.js'
import { callerOf, type Caller } from '@nsm/spiffe/authority/caller.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'
import t from 'tap'

t.test('the kernel tells who a caller is', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'authority-'))
  t.teardown(async () => rm(folder, { recursive: true }))
  const socketPath = path.join(folder, 'agent.sock')
  const callers: Caller[] = []
  const attest = async (caller: Caller): Promise<string> => {
    t.ok(await caller.isSame())
    callers.push(caller)
    return `spiffe://k8s.nsm/pid/${caller.pid}`
  }
  const authority = await startAuthority({ trustDomain: 'k8s.nsm', socketPath, listen: listenUnix, attest })
  t.teardown(async () => authority.close())
  t.equal((await stat(socketPath)).mode & 0o777, 0o777)

  const address = `unix://${socketPath}`
  const source = await x509Source({ address })
  t.teardown(() => source.close())
  t.equal(source.current.svids[0].id, `spiffe://k8s.nsm/pid/${process.pid}`)
  const ownNetns = (await stat('/proc/self/ns/net', { bigint: true })).ino
  t.match(callers, [
    { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.(), netnsInode: ownNetns },
  ])

  const server = fileURLToPath(new URL('../examples/server.js', import.meta.url))
  const env = { ...process.env, SPIFFE_ENDPOINT_SOCKET: address }
  const child = spawn(process.execPath, [server, path.join(folder, 's')], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill())
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  t.equal(line.toString(), `spiffe://k8s.nsm/pid/${child.pid} listens\n`)
})

t.test(
  'what is read of a caller that has ended, or gave its connection away, is told to be nobody’s',
  async (t) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'authority-'))
    t.teardown(async () => rm(folder, { recursive: true }))
    const socketPath = path.join(folder, 'agent.sock')
    const accepted = new Promise<UnixSocket>((resolve) => {
      void listenUnix(socketPath, {}, resolve).then((listener) => t.teardown(async () => listener.close()))
    })
    // The connection stays open in a child of the process that made it.
    const script = `
    const socket = require('node:net').connect(${JSON.stringify(socketPath)}, () => {
      const child = require('node:child_process').spawn('sleep', ['60'], { stdio: ['ignore', socket, 'ignore'], detached: true })
      console.log(child.pid)
      process.stdin.once('data', () => process.exit(0))
    })`
    const opener = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(() => opener.kill())
    const socket = await accepted
    t.teardown(() => socket.destroy())
    const [line] = (await once(opener.stdout, 'data')) as [Buffer]
    const holder = Number(line)
    t.teardown(() => process.kill(holder))
    const caller = await callerOf(socket)()
    t.equal(caller.pid, opener.pid)
    t.ok(await caller.isSame())
    for (const kernel of [0, 2]) t.ok(unwrap(addon().peerIsAlive(socket.fd, kernel)), `way ${kernel}`)
    opener.stdin.write('end\n')
    await once(opener, 'exit')
    t.notOk(await caller.isSame())
    for (const kernel of [0, 2]) t.notOk(unwrap(addon().peerIsAlive(socket.fd, kernel)), `way ${kernel}`)
    t.notOk(socket.readableEnded, 'the connection itself goes on')
  },
)
