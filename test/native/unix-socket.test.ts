import { once } from 'node:events'
import { closeSync, fstatSync, lstatSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addon, unwrap } from '@nsm/native/addon.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix, type UnixSocket } from '@nsm/native/unix-socket.js'
import t from 'tap'
import { until } from '../kit/until.ts'

interface Cleanup {
  teardown(run: () => unknown): void
}

async function folder(t: Cleanup): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nsm-unix-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

/** Two ends of one connection. */
async function connected(t: Cleanup): Promise<[UnixSocket, UnixSocket]> {
  const path = join(await folder(t), 's')
  let accepted: (socket: UnixSocket) => void = () => undefined
  const server = new Promise<UnixSocket>((resolve) => (accepted = resolve))
  const listener = await listenUnix(path, {}, (socket) => accepted(socket))
  const client = await connectUnix(path)
  const other = await server
  t.teardown(() => [client, other].forEach((socket) => socket.destroy()))
  await listener.close()
  return [client, other]
}

/** Files of their own, open; closed with the test. */
async function files(t: Cleanup, count: number): Promise<number[]> {
  const path = await folder(t)
  const fds = Array.from({ length: count }, (_, n) => {
    writeFileSync(join(path, `${n}`), `${n}`)
    return openSync(join(path, `${n}`), 'r')
  })
  t.teardown(() => fds.forEach((fd) => closeSync(fd)))
  return fds
}

function keyOf(fd: number): [bigint, bigint] {
  const { dev, ino } = fstatSync(fd, { bigint: true })
  return [dev, ino]
}

t.test('bytes arrive unchanged, whatever their number, with half close', async (t) => {
  const [client, server] = await connected(t)
  server.pipe(server)
  const sent = Buffer.from(Array.from({ length: 1_000_000 }, (_, n) => n % 251))
  client.end(sent)
  const parts: Buffer[] = []
  for await (const part of client) parts.push(part as Buffer)
  t.ok(Buffer.concat(parts).equals(sent))
  await until('both are closed', () => client.destroyed && server.destroyed)
})

t.test('a slow reader holds a writer back', async (t) => {
  const [client, server] = await connected(t)
  let done = 0
  for (let n = 0; n < 64; n++) client.write(Buffer.alloc(65_536), () => done++)
  server.once('readable', () => undefined)
  await once(server, 'readable')
  t.ok(client.writableNeedDrain)
  t.ok(done < 64)
  server.resume()
  await until('all is written', () => done === 64)
})

t.test('descriptors arrive beside the bytes, and are known by their file', async (t) => {
  const [client, server] = await connected(t)
  const [fd = -1] = await files(t, 1)
  const path = native.open(`/proc/self/fd/${fd}`, 'path')
  t.teardown(() => native.close(path))
  const got: Buffer[] = []
  server.on('data', (part: Buffer) => got.push(part))
  const waiting = server.receive(...keyOf(fd), AbortSignal.timeout(10_000))
  t.same(client.send(path), { dev: keyOf(fd)[0], inode: keyOf(fd)[1] })
  client.write('hello')
  const early = await waiting
  const late = await server.receive(...keyOf(fd), AbortSignal.timeout(10_000))
  t.not(early, late)
  t.same(keyOf(early), keyOf(fd))
  t.ok(native.describe(early).isPathOnly)
  ;[early, late].forEach((one) => native.close(one))
  await until('all bytes are here', () => Buffer.concat(got).toString() === 'hello')
  server.forget(...keyOf(fd))
  await t.rejects(server.receive(...keyOf(fd), AbortSignal.timeout(20)), { name: 'TimeoutError' })
})

t.test('more descriptors than bytes wait for the next write', async (t) => {
  const [client, server] = await connected(t)
  const fds = await files(t, 5)
  server.resume()
  fds.forEach((fd) => client.send(fd))
  client.write('ab')
  const [first = -1, , third = -1, , fifth = -1] = fds
  native.close(await server.receive(...keyOf(first), AbortSignal.timeout(10_000)))
  await t.rejects(server.receive(...keyOf(third), AbortSignal.timeout(20)), { name: 'TimeoutError' })
  client.write('cde')
  native.close(await server.receive(...keyOf(fifth), AbortSignal.timeout(10_000)))
})

t.test('a hundred descriptors and many bytes go both ways at once', async (t) => {
  const [client, server] = await connected(t)
  const fds = await files(t, 100)
  const counts = new Map<UnixSocket, number>()
  for (const socket of [client, server]) {
    socket.on('data', (part: Buffer) => counts.set(socket, (counts.get(socket) ?? 0) + part.length))
    fds.forEach((fd) => socket.send(fd))
    socket.write(Buffer.alloc(300_000))
    socket.write(Buffer.alloc(100))
  }
  for (const socket of [client, server]) {
    for (const fd of fds) native.close(await socket.receive(...keyOf(fd), AbortSignal.timeout(10_000)))
    await until('all bytes are here', () => counts.get(socket) === 300_100)
    t.equal(socket.droppedDescriptors, 0)
  }
})

t.test('what a peer throws at us is bounded, and closed with the connection', async (t) => {
  const [client, server] = await connected(t)
  const fds = await files(t, 300)
  const before = readdirSync('/proc/self/fd').length
  server.resume()
  for (let from = 0; from < 300; from += 60) {
    fds.slice(from, from + 60).forEach((fd) => client.send(fd))
    await new Promise((resolve) => client.write(Buffer.alloc(60), resolve))
  }
  await until('all were looked at', () => server.droppedDescriptors === 300 - 256)
  t.equal(readdirSync('/proc/self/fd').length, before + 256)
  const refused = server.receive(4n, 1n, AbortSignal.timeout(10_000))
  client.end()
  server.destroy()
  await t.rejects(refused, { message: 'the socket is closed' })
  await once(server, 'close')
  await until('all are closed', () => readdirSync('/proc/self/fd').length <= before)
})

t.test('a listener that has no use for descriptors closes them as they come', async (t) => {
  const path = join(await folder(t), 's')
  let accepted: (socket: UnixSocket) => void = () => undefined
  const server = new Promise<UnixSocket>((resolve) => (accepted = resolve))
  const listener = await listenUnix(path, { keepsDescriptors: false }, (socket) => accepted(socket))
  const [client, other] = [await connectUnix(path), await server]
  t.teardown(() => [client, other].forEach((socket) => socket.destroy()))
  await listener.close()
  const fds = await files(t, 10)
  const before = readdirSync('/proc/self/fd').length
  for (const fd of fds) client.send(fd)
  client.write(Buffer.alloc(100))
  const [bytes] = (await once(other, 'data')) as [Buffer]
  t.ok(bytes.length > 0)
  await until('all are closed', () => readdirSync('/proc/self/fd').length === before)
})

t.test('a queue of descriptors has an end', async (t) => {
  const [client] = await connected(t)
  const [fd = -1] = await files(t, 1)
  for (let n = 0; n < 256; n++) client.send(fd)
  t.throws(() => client.send(fd), { message: /256 descriptors wait already/ })
  client.destroy()
  t.throws(() => client.send(fd), { message: 'the socket is closed' })
  await t.rejects(client.peerNetns(), { message: 'the socket is closed' })
})

t.test('a descriptor that was closed before it is sent was duplicated in time', async (t) => {
  const [client, server] = await connected(t)
  const [fd = -1] = await files(t, 1)
  const copy = native.duplicate(fd)
  client.send(copy)
  native.close(copy)
  t.throws(() => client.send(copy), { code: 'EBADF' })
  client.write('x')
  server.resume()
  native.close(await server.receive(...keyOf(fd), AbortSignal.timeout(10_000)))
})

t.test('a peer that goes away ends the stream with an error or its end', async (t) => {
  const [client, server] = await connected(t)
  server.destroy()
  client.on('error', () => undefined)
  client.resume()
  client.write(Buffer.alloc(1_000_000))
  await until('the client is closed', () => client.destroyed)
})

t.test('a listener has its mode, replaces a stale file and only that', async (t) => {
  const path = join(await folder(t), 's')
  const stale = createServer()
  await new Promise<void>((resolve) => stale.listen(path, resolve))
  await t.rejects(
    listenUnix(path, {}, () => undefined),
    { code: 'EADDRINUSE' },
  )
  await t.rejects(
    listenUnix(join(path, 'x'), {}, () => undefined),
    { code: 'ENOTDIR' },
  )
  await new Promise((resolve) => stale.close(resolve))
  native.close(unwrap(addon().listenUnix(path, 0o600, 1)))
  t.ok(lstatSync(path).isSocket())
  const left = await listenUnix(path, { mode: 0o660 }, () => undefined)
  t.equal(lstatSync(path).mode & 0o777, 0o660)
  await Promise.all([left.close(), left.close()])
  t.throws(() => lstatSync(path), { code: 'ENOENT' })
  writeFileSync(path, 'a plain file')
  await t.rejects(
    listenUnix(path, {}, () => undefined),
    { code: 'EADDRINUSE' },
  )
})

t.test('paths through descriptors and long paths are reached', async (t) => {
  const path = join(await folder(t), 'x'.repeat(120), 's')
  mkdirSync(join(path, '..'))
  const seen: UnixSocket[] = []
  const listener = await listenUnix(path, {}, (socket) => seen.push(socket))
  t.teardown(() => listener.close())
  const fd = native.open(path, 'path')
  t.teardown(() => native.close(fd))
  for (const way of [path, `/proc/self/fd/${fd}`, `/proc/${process.pid}/fd/${fd}`]) {
    const socket = await connectUnix(way)
    socket.destroy()
  }
  await until('all were accepted', () => seen.length === 3)
  seen.forEach((socket) => socket.destroy())
  await t.rejects(connectUnix(`${path}-not`), { code: 'ENOENT' })
  await t.rejects(connectUnix(''), { code: 'EINVAL' })
  await t.rejects(connectUnix(path, AbortSignal.abort(new Error('no'))), { message: 'no' })
})
