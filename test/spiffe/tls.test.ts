import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Duplex, duplexPair } from 'node:stream'
import tls from 'node:tls'
import { anyId, memberOf, oneOf, type Authorise } from '@nsm/spiffe/authorise.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { secureClientSocket, secureServerSocket, type TlsPeer } from '@nsm/spiffe/tls.js'
import t from 'tap'
import { federation, testAuthority, type TestAuthority } from '../kit/identity.ts'

const never = new AbortController().signal

interface Ends {
  readonly server: X509Source
  readonly client: X509Source
  readonly serverAllows?: Authorise
  readonly clientAllows?: Authorise
}

/** Both halves over a pipe in memory; settled, since one end's refusal shows as a broken session on the other. */
async function meet(ends: Ends): Promise<[PromiseSettledResult<TlsPeer>, PromiseSettledResult<TlsPeer>]> {
  const [a, b] = pipe()
  return Promise.allSettled([
    secureServerSocket(a, ends.server, ends.serverAllows ?? anyId, never),
    secureClientSocket(b, ends.client, ends.clientAllows ?? anyId, never),
  ])
}

/** As of a socket, the end of one side is the end of the other. */
function pipe(): [Duplex, Duplex] {
  const [a, b] = duplexPair()
  a.on('close', () => b.destroy())
  b.on('close', () => a.destroy())
  return [a, b]
}

function value<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason
  return result.value
}

function codeOf(result: PromiseSettledResult<unknown>): unknown {
  return result.status === 'rejected' ? (result.reason as { code?: unknown }).code : 'fulfilled'
}

async function twoWorkloads(): Promise<{ ca: TestAuthority; server: X509Source; client: X509Source }> {
  const ca = await testAuthority('k8s.nsm')
  return { ca, server: ca.source('/ns/a/pod/server'), client: ca.source('/ns/a/pod/client') }
}

t.test('both ends learn the other one and can talk', async (t) => {
  const { server, client } = await twoWorkloads()
  const [s, c] = (await meet({ server, client })).map(value) as [TlsPeer, TlsPeer]
  t.equal(s.spiffeId.id, 'spiffe://k8s.nsm/ns/a/pod/client')
  t.equal(c.spiffeId.id, 'spiffe://k8s.nsm/ns/a/pod/server')
  t.equal(s.localSvid, server.current.svids[0])
  t.equal(c.localSvid, client.current.svids[0])
  t.equal(c.certificate.fingerprint256, server.current.svids[0].certificates[0].fingerprint256)
  t.equal(s.socket.getProtocol(), 'TLSv1.3')
  t.equal(s.socket.alpnProtocol, 'h2')
  c.socket.write('hello')
  const [data] = (await once(s.socket, 'data')) as [Buffer]
  t.equal(data.toString(), 'hello')
  c.socket.destroy()
  s.socket.destroy()
})

t.test('a chain with an intermediate goes over the wire', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const via = ca.intermediate()
  const ends = { server: ca.source('/server', { via }), client: ca.source('/client', { via }) }
  const [s, c] = (await meet(ends)).map(value) as [TlsPeer, TlsPeer]
  t.equal(s.spiffeId.path, '/client')
  t.equal(c.spiffeId.path, '/server')
  c.socket.destroy()
  s.socket.destroy()
})

t.test('members of federated trust domains meet', async (t) => {
  const [a, b] = await Promise.all([testAuthority('a.test'), testAuthority('b.test')])
  const bundles = federation(a, b)
  const ends = { server: a.source('/server', { bundles }), client: b.source('/client', { bundles }) }
  const [s, c] = (await meet(ends)).map(value) as [TlsPeer, TlsPeer]
  t.equal(s.spiffeId.trustDomain, 'b.test')
  t.equal(c.spiffeId.trustDomain, 'a.test')
  c.socket.destroy()
  s.socket.destroy()
})

t.test('RSA SVIDs make sessions, too', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const ends = { server: ca.source('/server', { keyType: 'rsa' }), client: ca.source('/client') }
  const [s, c] = (await meet(ends)).map(value) as [TlsPeer, TlsPeer]
  t.equal(c.spiffeId.path, '/server')
  c.socket.destroy()
  s.socket.destroy()
})

t.test('a client whose SVID does not hold is refused by the server', async (t) => {
  const { ca, server } = await twoWorkloads()
  const stranger = await testAuthority('k8s.nsm')
  const second = 1_000
  const bad: Record<string, X509Source> = {
    'signed by another root': stranger.source('/client', { bundles: ca.bundles }),
    'expired a second ago': ca.source('/client', { notAfter: new Date(Date.now() - second) }),
    'two identities': ca.source('/client', { uris: ['spiffe://k8s.nsm/a', 'spiffe://k8s.nsm/b'] }),
    'a CA': ca.source('/client', { ca: true }),
  }
  for (const [name, client] of Object.entries(bad)) {
    const [s, c] = await meet({ server, client })
    t.equal(codeOf(s), 'UNAUTHENTICATED', name)
    if (c.status === 'fulfilled') c.value.socket.destroy()
  }
})

t.test('a server whose SVID does not hold is refused by the client', async (t) => {
  const { ca, client } = await twoWorkloads()
  const stranger = await testAuthority('k8s.nsm')
  const server = stranger.source('/server', { bundles: ca.bundles })
  const [, c] = await meet({ server, client })
  t.equal(codeOf(c), 'UNAUTHENTICATED')
})

t.test('each end may refuse an identity that is proven', async (t) => {
  const { server, client } = await twoWorkloads()
  const [s1] = await meet({ server, client, serverAllows: memberOf('other.test') })
  t.equal(codeOf(s1), 'PERMISSION_DENIED')
  const [, c2] = await meet({ server, client, clientAllows: oneOf('spiffe://k8s.nsm/somebody') })
  t.equal(codeOf(c2), 'PERMISSION_DENIED')
})

t.test('a rotation is used by the next handshake and leaves the live session alone', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const [server, client] = [ca.source('/server'), ca.source('/client')]
  const [s1, c1] = (await meet({ server, client })).map(value) as [TlsPeer, TlsPeer]
  const fresh = server.rotate()
  const [s2, c2] = (await meet({ server, client })).map(value) as [TlsPeer, TlsPeer]
  t.equal(c2.certificate.fingerprint256, fresh.certificates[0].fingerprint256)
  t.not(c1.certificate.fingerprint256, c2.certificate.fingerprint256)
  s1.socket.write('still here')
  t.equal(String((await once(c1.socket, 'data'))[0]), 'still here')
  for (const peer of [s1, c1, s2, c2]) peer.socket.destroy()
})

t.test('an emptied bundle ends trust at once', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const [server, client] = [ca.source('/server'), ca.source('/client')]
  server.set({ svids: server.current.svids, bundles: new Map([['k8s.nsm', []]]) })
  const [s] = await meet({ server, client })
  t.equal(codeOf(s), 'UNAUTHENTICATED')
})

t.test('strangers to the protocol are refused, and the process lives', async (t) => {
  const { server, client } = await twoWorkloads()
  const svid = client.current.svids[0]
  const cert = svid.certificates[0].toString()
  const key = svid.privateKey.export({ type: 'pkcs8', format: 'pem' })
  const options = { cert, key, rejectUnauthorized: false }
  const attempts: Record<string, [(socket: Duplex) => Duplex, string]> = {
    'no TLS at all': [(socket) => (socket.write('GET / HTTP/1.1\r\n\r\n'), socket), 'UNAVAILABLE'],
    'no ALPN': [(socket) => tls.connect({ socket, ...options }), 'UNAVAILABLE'],
    'another protocol': [
      (socket) => tls.connect({ socket, ...options, ALPNProtocols: ['http/1.1'] }),
      'UNAVAILABLE',
    ],
    'no certificate': [
      (socket) => tls.connect({ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
      'UNAUTHENTICATED',
    ],
    'TLS 1.1': [
      (socket) =>
        tls.connect({
          socket,
          ...options,
          ALPNProtocols: ['h2'],
          minVersion: 'TLSv1.1',
          maxVersion: 'TLSv1.1',
        }),
      'UNAVAILABLE',
    ],
    'hang up': [(socket) => socket.destroy(), 'UNAVAILABLE'],
  }
  for (const [name, [attempt, code]] of Object.entries(attempts)) {
    const [a, b] = pipe()
    const secured = secureServerSocket(a, server, anyId, never)
    const socket = attempt(b).on('error', () => undefined)
    await t.rejects(secured, { code }, name)
    socket.destroy()
    t.ok(a.destroyed, `${name}: the connection is gone`)
  }
})

t.test('a client refuses a server that does not speak h2', async (t) => {
  const { server, client } = await twoWorkloads()
  const svid = server.current.svids[0]
  const [a, b] = pipe()
  const cert = svid.certificates[0].toString()
  const key = svid.privateKey.export({ type: 'pkcs8', format: 'pem' })
  const plain = new tls.TLSSocket(a, {
    isServer: true,
    secureContext: tls.createSecureContext({ cert, key, ca: [] }),
  })
  plain.on('error', () => undefined)
  await t.rejects(secureClientSocket(b, client, anyId, never), { code: 'UNAVAILABLE', message: /h2/ })
  plain.destroy()
})

t.test('no session is resumed', async (t) => {
  const { server, client } = await twoWorkloads()
  const svid = client.current.svids[0]
  const cert = svid.certificates[0].toString()
  const key = svid.privateKey.export({ type: 'pkcs8', format: 'pem' })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const connect = async (session?: Buffer): Promise<[tls.TLSSocket, Buffer | undefined]> => {
      const [a, b] = pipe()
      const secured = secureServerSocket(a, server, anyId, never)
      const socket = tls.connect({
        socket: b,
        cert,
        key,
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
        minVersion: version,
        maxVersion: version,
        ...(session === undefined ? {} : { session }),
      })
      let ticket: Buffer | undefined
      socket.on('session', (data: Buffer) => (ticket = data))
      const peer = await secured
      peer.socket.write('x')
      await once(socket, 'data')
      peer.socket.destroy()
      return [socket, ticket ?? socket.getSession()]
    }
    const [first, session] = await connect()
    first.destroy()
    const [second] = await connect(session)
    t.equal(second.isSessionReused(), false, version)
    second.destroy()
  }
})

t.test('a silent peer is given up with the signal', async (t) => {
  const { server, client } = await twoWorkloads()
  for (const secure of [secureServerSocket, secureClientSocket]) {
    const [a] = pipe()
    const controller = new AbortController()
    const secured = secure(a, secure === secureServerSocket ? server : client, anyId, controller.signal)
    controller.abort()
    await t.rejects(secured, { code: 'CANCELLED' })
    t.ok(a.destroyed)
    await t.rejects(secure(pipe()[0], server, anyId, controller.signal), { code: 'CANCELLED' }, 'at once')
  }
})

t.test('an end without an identity refuses before it speaks', async (t) => {
  const [a, b] = pipe()
  const gone: X509Source = {
    get current(): never {
      throw new Error('identity withdrawn')
    },
    onChange: () => () => undefined,
    close: () => undefined,
  }
  let spoken = 0
  b.on('data', (data: Buffer) => (spoken += data.length))
  await t.rejects(secureClientSocket(a, gone, anyId, never), { message: /withdrawn/ })
  t.equal(spoken, 0)
})

t.test('the same over a unix socket and over TCP', async (t) => {
  const { server, client } = await twoWorkloads()
  const folder = await mkdtemp(path.join(tmpdir(), 'spiffe-tls-'))
  t.teardown(async () => rm(folder, { recursive: true }))
  for (const address of [{ path: path.join(folder, 's') }, { port: 0, host: '127.0.0.1' }]) {
    const listener = net.createServer().listen(address)
    await once(listener, 'listening')
    const bound = listener.address()
    const accepted = once(listener, 'connection') as Promise<[net.Socket]>
    const raw = typeof bound === 'string' ? net.connect(bound) : net.connect(bound?.port ?? 0, '127.0.0.1')
    const [s, c] = await Promise.all([
      accepted.then(async ([socket]) => secureServerSocket(socket, server, anyId, never)),
      secureClientSocket(raw, client, anyId, never),
    ])
    t.equal(s.spiffeId.path, '/ns/a/pod/client')
    const closed = once(s.socket, 'close')
    c.socket.destroy()
    await closed
    listener.close()
  }
})
