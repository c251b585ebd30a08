import { once, type EventEmitter } from 'node:events'
import {
  connect as connectHttp2,
  constants,
  type ClientHttp2Session,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { tail } from '@nsm/sdk/chain.js'
import type { ServerLimits } from '@nsm/sdk/transport/server.js'
import { anyId } from '@nsm/spiffe/authorise.js'
import { secureClientSocket } from '@nsm/spiffe/tls.js'
import t, { type Test } from 'tap'
import { handClock } from '../../kit/clock.ts'
import { testAuthority } from '../../kit/identity.ts'
import { ctxFor, transportPair, type TestPair } from '../../kit/transport.ts'
import { until } from '../../kit/until.ts'

const ask = NetworkServiceRequest.fromPartial({ connection: { id: 'a' } })
const services = { networkService: tail }

async function tcpTo(t: Test, url: string): Promise<Socket> {
  const socket = connectTcp(Number(url.split(':').at(-1)), '127.0.0.1')
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** Whatever error came before. */
function closed(stream: EventEmitter): Promise<void> {
  return new Promise((resolve) => stream.once('close', resolve))
}

/** HTTP/2 as a proven peer that does not keep to gRPC. */
async function rawSession(t: Test, { url, clientSource }: TestPair): Promise<ClientHttp2Session> {
  const secured = await secureClientSocket(
    await tcpTo(t, url),
    clientSource,
    anyId,
    AbortSignal.timeout(5000),
  )
  const session = connectHttp2('https://localhost', { createConnection: () => secured.socket })
  session.on('error', () => undefined)
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  return session
}

const path = '/networkservice.NetworkService/Request'
const grpc = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc' }

interface RawAnswer {
  readonly status: unknown
  readonly grpcStatus: unknown
  readonly rstCode: number
}

async function rawCall(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Buffer,
): Promise<RawAnswer> {
  const stream = session.request(headers)
  stream.on('error', () => undefined)
  let answer: Record<string, unknown> = {}
  stream.on('response', (got) => (answer = { ...answer, ...got }))
  stream.on('trailers', (got) => (answer = { ...answer, ...got }))
  stream.resume()
  if (headers[':method'] === 'POST') stream.end(body)
  await closed(stream)
  return { status: answer[':status'], grpcStatus: answer['grpc-status'], rstCode: stream.rstCode }
}

async function stillServes(t: Test, { dialer, url }: TestPair): Promise<void> {
  const remote = await dialer.dial(ctxFor(5000), url)
  t.equal((await remote.request(ctxFor(5000), ask)).id, 'a', 'others are still served')
  remote.release()
}

t.test('bytes that are no TLS end that connection alone', async (t) => {
  const pair = await transportPair(t, { services })
  for (const bytes of [
    'GET / HTTP/1.1\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\x16\x03\x01\xff\xff',
    '\0'.repeat(70_000),
  ]) {
    const socket = await tcpTo(t, pair.url)
    socket.end(bytes)
    socket.resume()
    await closed(socket)
  }
  const aborted = await tcpTo(t, pair.url)
  aborted.resetAndDestroy()
  await stillServes(t, pair)
})

t.test('a handshake that does not end is ended', async (t) => {
  const clock = handClock()
  const pair = await transportPair(t, { services, clock })
  const socket = await tcpTo(t, pair.url)
  socket.resume()
  await stillServes(t, pair)
  clock.advance(5000)
  await closed(socket)
  await stillServes(t, pair)
})

t.test('silent peers give way to new ones, and a full server refuses', async (t) => {
  const limits: ServerLimits = { maxHandshakes: 3, maxConnections: 2 }
  const pair = await transportPair(t, { services, limits })
  const sockets = await Promise.all(Array.from({ length: 10 }, () => tcpTo(t, pair.url)))
  for (const socket of sockets) socket.resume()
  await until('seven have given way', () => sockets.filter(({ destroyed }) => destroyed).length === 7)
  await stillServes(t, pair)
  await rawSession(t, pair)
  const socket = await tcpTo(t, pair.url)
  await closed(socket.resume())
  await stillServes(t, pair)
})

t.test('a peer whose SVID is refused is told, on either side', async (t) => {
  const pair = await transportPair(t, { services })
  const other = await testAuthority('other.nsm')
  const now = Date.now()
  const bad = [
    other.source('/x'),
    pair.ca.source('/x', { notAfter: new Date(now - 1000) }),
    pair.ca.source('/x', { notBefore: new Date(now + 60_000) }),
    pair.ca.source('/x', { uris: ['spiffe://k8s.nsm/a', 'spiffe://k8s.nsm/b'] }),
    pair.ca.source('/x', { ca: true }),
  ]
  for (const source of bad) {
    const trusting = { ...source, current: { svids: source.current.svids, bundles: pair.ca.bundles } }
    const asClient = await transportPair(t, { services, client: { source: trusting } })
    await t.rejects(asClient.dialer.dial(ctxFor(5000), pair.url), { code: 'UNAVAILABLE' }, 'as a client')
    const asServer = await transportPair(t, { services, source: trusting })
    await t.rejects(pair.dialer.dial(ctxFor(5000), asServer.url), { code: 'UNAUTHENTICATED' }, 'as a server')
  }
  await stillServes(t, pair)
})

t.test('a peer without h2 or without a certificate is not served', async (t) => {
  const pair = await transportPair(t, { services })
  const [svid] = pair.clientSource.current.svids
  const cert = svid.certificates[0].toString()
  const key = svid.privateKey.export({ type: 'pkcs8', format: 'pem' })
  for (const options of [
    { cert, key },
    { cert, key, ALPNProtocols: ['http/1.1'] },
    { ALPNProtocols: ['h2'] },
  ]) {
    const socket = connectTls({ socket: await tcpTo(t, pair.url), rejectUnauthorized: false, ...options })
    socket.on('error', () => undefined)
    socket.resume()
    await closed(socket)
  }
  await stillServes(t, pair)
})

t.test('frames that are no HTTP/2 end that session alone', async (t) => {
  const pair = await transportPair(t, { services })
  for (const bytes of ['GET / HTTP/1.1\r\n\r\n', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(100)}`]) {
    const raw = await tcpTo(t, pair.url)
    const { socket } = await secureClientSocket(raw, pair.clientSource, anyId, AbortSignal.timeout(5000))
    socket.on('error', () => undefined)
    socket.write(bytes, 'latin1')
    socket.resume()
    await closed(socket)
  }
  await stillServes(t, pair)
})

t.test('a session that does not answer any more is ended, one that does is not', async (t) => {
  const clock = handClock()
  const pair = await transportPair(t, { services, clock })
  const remote = await pair.dialer.dial(ctxFor(5000), pair.url)
  const raw = await tcpTo(t, pair.url)
  const { socket } = await secureClientSocket(raw, pair.clientSource, anyId, AbortSignal.timeout(5000))
  socket.on('error', () => undefined)
  // SETTINGS of 3 bytes: an error of the connection, after which Node reads no more.
  const settings = Buffer.from([0, 0, 3, 4, 0, 0, 0, 0, 0, 1, 1, 1])
  socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings]))
  await once(socket, 'data')
  socket.resume()
  for (let round = 0; round < 3; round++) {
    clock.advance(30_000)
    // An answer that came back has the one to the ping before it.
    await remote.request(ctxFor(5000), ask)
    clock.advance(14_999)
    await remote.request(ctxFor(5000), ask)
  }
  await until('the bad one is ended', () => socket.destroyed)
  t.equal((await remote.request(ctxFor(5000), ask)).id, 'a')
  t.notOk(remote.closed.aborted)
})

t.test('calls that are no gRPC are answered as such', async (t) => {
  const pair = await transportPair(t, { services, limits: { maxRequestBytes: 1000 } })
  const session = await rawSession(t, pair)
  const body = (flag: number, length: number, rest: number): Buffer => {
    const prefix = Buffer.alloc(5)
    prefix.writeUInt8(flag, 0)
    prefix.writeUInt32BE(length, 1)
    return Buffer.concat([prefix, Buffer.alloc(rest, 0xff)])
  }
  const whole = body(0, 0, 0)
  const answers = async (headers: OutgoingHttpHeaders, bytes: Buffer): Promise<unknown> =>
    (await rawCall(session, { ...grpc, ...headers }, bytes)).grpcStatus

  t.equal(await answers({}, whole), '3', 'a request without a connection')
  t.equal(await answers({}, body(1, 0, 0)), '12', 'compressed')
  t.equal(await answers({}, body(7, 0, 0)), '13', 'bad flag')
  t.equal(await answers({}, body(0, 0xffff_ffff, 10)), '8', 'too long')
  t.equal(await answers({}, body(0, 100, 10)), '13', 'cut short')
  t.equal(await answers({}, Buffer.alloc(0)), '13', 'no message')
  t.equal(await answers({}, Buffer.concat([whole, whole])), '13', 'two messages')
  t.equal(await answers({}, body(0, 20, 20)), '3', 'no protobuf')
  t.equal(await answers({ 'grpc-timeout': 'x' }, whole), '3', 'bad time-out')
  t.equal(await answers({ ':path': '/nowhere' }, whole), '12')
  t.equal((await rawCall(session, { ...grpc, ':method': 'GET' }, Buffer.alloc(0))).status, 415)
  t.equal((await rawCall(session, { ...grpc, 'content-type': 'text/html' }, whole)).status, 415)
  t.equal(await answers({ 'grpc-timeout': '99999999H' }, whole), '3', 'a time-out of 11,000 years')
  await stillServes(t, pair)
})

t.test('a request that does not arrive is ended', async (t) => {
  const clock = handClock()
  const pair = await transportPair(t, { services, clock })
  const session = await rawSession(t, pair)
  const stream = session.request(grpc)
  stream.on('error', () => undefined)
  stream.write(Buffer.from([0, 0, 0, 0, 9]))
  const answered = once(stream, 'response')
  await stillServes(t, pair)
  clock.advance(10_000)
  const [headers] = (await answered) as [Record<string, unknown>]
  t.equal(headers['grpc-status'], '4')
})

t.test('calls that are reset as soon as they are made do no harm', async (t) => {
  const pair = await transportPair(t, { services })
  const session = await rawSession(t, pair)
  for (let n = 0; n < 200; n++) {
    const stream = session.request(grpc)
    stream.on('error', () => undefined)
    stream.close(constants.NGHTTP2_CANCEL)
  }
  await stillServes(t, pair)
})
