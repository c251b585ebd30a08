import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addon, unwrap } from '@nsm/native/addon.js'
import { native } from '@nsm/native/native.js'
import { listenUnix, type UnixSocket } from '@nsm/native/unix-socket.js'
import t from 'tap'
import { fdPath, netnses } from '../kit/netns.ts'

t.test('a descriptor is told apart by what it stands for', async (t) => {
  const [fd = -1] = await netnses(t, 1)
  const seen = native.describe(fd)
  t.match(seen, { kind: 'netns', isOwnNetns: false, isPathOnly: false, dev: 4n })
  const path = native.open(fdPath(fd), 'path')
  t.teardown(() => native.close(path))
  t.same(native.describe(path), { ...seen, isPathOnly: true })
  const own = native.ownNetns()
  t.teardown(() => native.close(own))
  t.match(native.describe(own), { kind: 'netns', isOwnNetns: true })
  for (const [file, kind] of [
    ['/proc/self/ns/mnt', 'namespace'],
    ['/proc/self/status', 'file'],
    ['/', 'directory'],
    ['/dev/null', 'other'],
  ] as const) {
    const other = native.open(file, 'path')
    t.equal(native.describe(other).kind, kind, file)
    native.close(other)
  }
})

t.test('descriptors that are none are refused by name', (t) => {
  t.throws(() => native.describe(-1), { code: 'EBADF', operation: 'fstat', object: 'descriptor -1' })
  t.throws(() => native.duplicate(99_999), { code: 'EBADF', errno: 9 })
  t.throws(() => native.close(99_999), { message: 'close descriptor 99999: EBADF: bad file descriptor' })
  t.throws(() => native.open('/no/such', 'read'), { code: 'ENOENT', object: '/no/such' })
  t.throws(() => native.open('/no\0such', 'path'), { code: 'EINVAL' })
  t.throws(() => native.peerCredentials(-1), { code: 'EBADF', operation: 'SO_PEERCRED' })
  t.end()
})

t.test('what is no network namespace is refused before it is touched', async (t) => {
  const mount = native.open('/proc/self/ns/mnt', 'read')
  const file = native.open('/proc/self/status', 'read')
  t.teardown(() => [mount, file].forEach((fd) => native.close(fd)))
  await t.rejects(native.read(mount, ['links']), { code: 'EINVAL', message: /not a network namespace/ })
  await t.rejects(native.apply(file, []), { code: 'EINVAL', message: /is not a namespace/ })
  await t.rejects(native.deleteLinks(-1, ['x']), { code: 'EBADF' })
  const veth = { mtu: 1500, group: 1, b: { netnsFd: file, name: 'b' } }
  const [fd = -1] = await netnses(t, 1)
  await t.rejects(native.createVeth({ ...veth, a: { netnsFd: fd, name: 'a' } }), { code: 'EINVAL' })
})

/** A program in a namespace that connects to a socket file and stays until it is closed. */
function dialFrom(netnsFd: number, path: string): () => void {
  const script = `require('net').connect(process.argv[1]).resume()`
  const child = spawn('nsenter', [`--net=${fdPath(netnsFd)}`, process.execPath, '-e', script, path], {
    stdio: 'ignore',
  })
  return () => void child.kill('SIGKILL')
}

t.test('the peer of a unix socket is found in its own namespace, on old kernels too', async (t) => {
  const [fd = -1] = await netnses(t, 1)
  const folder = await mkdtemp(join(tmpdir(), 'nsm-peer-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const connected = new Promise<UnixSocket>((resolve, reject) => {
    listenUnix(join(folder, 's'), {}, resolve).then((l) => t.teardown(() => l.close()), reject)
  })
  t.teardown(dialFrom(fd, join(folder, 's')))
  const socket = await connected
  t.teardown(() => socket.destroy())
  const { inode } = native.describe(fd)
  const found = await socket.peerNetns()
  t.equal(native.describe(found).inode, inode)
  native.close(found)
  for (const kernel of [1, 2]) {
    const same = unwrap(await addon().peerNetns(socket.fd, kernel))
    t.equal(native.describe(same).inode, inode, `way ${kernel}`)
    native.close(same)
  }
  t.equal(socket.peerCredentials.uid, process.getuid?.())
})
