import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket, connect, createSecureContext } from 'node:tls'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix, type UnixSocket } from '@nsm/native/unix-socket.js'
import t from 'tap'
import { testAuthority } from '../kit/identity.ts'
import { netnses } from '../kit/netns.ts'

t.test('descriptors ride below TLS, both ways', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-tls-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 's')
  const svid = (await testAuthority('a.test')).svid('/server')
  const key = svid.privateKey.export({ type: 'pkcs8', format: 'pem' })
  const cert = svid.certificates.map(String).join('')
  const accepted = new Promise<UnixSocket>((resolve, reject) => {
    listenUnix(path, {}, resolve).then((listener) => t.teardown(() => listener.close()), reject)
  })
  const clientSocket = await connectUnix(path)
  const serverSocket = await accepted
  t.teardown(() => [clientSocket, serverSocket].forEach((socket) => socket.destroy()))
  const server = new TLSSocket(serverSocket, {
    isServer: true,
    secureContext: createSecureContext({ key, cert }),
  })
  const client = connect({ socket: clientSocket, rejectUnauthorized: false })
  const [a = -1, b = -1] = await netnses(t, 2)
  serverSocket.send(b)
  server.on('data', (part: Buffer) => server.write(part))
  const { dev, inode } = clientSocket.send(a)
  client.write(Buffer.alloc(200_000, 'x'))
  let received = 0
  await new Promise<void>((resolve) => {
    client.on('data', (part: Buffer) => {
      received += part.length
      if (received === 200_000) resolve()
    })
  })
  const atServer = await serverSocket.receive(dev, inode, AbortSignal.timeout(10_000))
  const sent = native.describe(b)
  const atClient = await clientSocket.receive(sent.dev, sent.inode, AbortSignal.timeout(10_000))
  t.equal(native.describe(atServer).inode, native.describe(a).inode)
  t.equal(native.describe(atClient).kind, 'netns')
  ;[atServer, atClient].forEach((fd) => native.close(fd))
  client.end()
})
