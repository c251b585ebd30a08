import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { listenUnix } from '@nsm/native/unix-socket.js'
import { connectionOf, tail, type NetworkService } from '@nsm/sdk/chain.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { silent } from '@nsm/sdk/log.js'
import { serveSession } from '@nsm/sdk/transport/server-session.js'
import { servedMethods } from '@nsm/sdk/transport/services.js'
import { anyId } from '@nsm/spiffe/authorise.js'
import { secureServerSocket } from '@nsm/spiffe/tls.js'
import { createServer, type AddressInfo } from 'node:net'
import { renameSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { handClock } from '../../kit/clock.ts'
import type { TestPair } from '../../kit/transport.ts'
import { ctxFor, newNetns, openCount, transportPair, unixPair } from '../../kit/transport.ts'
import { until } from '../../kit/until.ts'
import { socketFolder } from '../../kit/socket-folder.ts'

const ask = NetworkServiceRequest.fromPartial({ connection: { id: 'a' } })
const services = { networkService: tail }

t.test('users of one url share a session, also while it is being opened', async (t) => {
  const { dialer, url } = await transportPair(t, { services })
  const [a, b] = await Promise.all([dialer.dial(ctxFor(5000), url), dialer.dial(ctxFor(5000), url)])
  t.equal(a.peer, b.peer)
  a.release()
  a.release()
  t.equal((await b.request(ctxFor(5000), ask)).id, 'a', 'one user that leaves twice is still one')
  b.release()
  t.equal((await dialer.dial(ctxFor(5000), url)).peer, b.peer, 'an idle session is used again')
})

t.test('a session that nobody uses ends after a while', async (t) => {
  const clock = handClock()
  const { dialer, url } = await transportPair(t, { services, client: { clock, idleMs: 30_000 } })
  const remote = await dialer.dial(ctxFor(5000), url)
  remote.release()
  clock.advance(29_999)
  const again = await dialer.dial(ctxFor(5000), url)
  t.equal(again.peer, remote.peer)
  clock.advance(60_000)
  t.notOk(again.closed.aborted, 'not while it is used')
  again.release()
  clock.advance(30_000)
  await until('it has ended', () => again.closed.aborted)
  t.not((await dialer.dial(ctxFor(5000), url)).peer, remote.peer)
})

t.test('after a rotation the old session drains, and a new one is opened', async (t) => {
  const { dialer, url, clientSource } = await transportPair(t, { services })
  const old = await dialer.dial(ctxFor(5000), url)
  clientSource.set({ ...clientSource.current })
  const same = await dialer.dial(ctxFor(5000), url)
  t.equal(same.peer, old.peer, 'new bundles alone change nothing')
  same.release()
  clientSource.rotate()
  const fresh = await dialer.dial(ctxFor(5000), url)
  t.not(fresh.peer, old.peer)
  t.equal((await old.request(ctxFor(5000), ask)).id, 'a', 'its user still can')
  old.release()
  await until('the old one has ended', () => old.closed.aborted)
  t.notOk(fresh.closed.aborted)
})

t.test('an ended session is not given out again', async (t) => {
  const { dialer, url, server, serverSource } = await transportPair(t, { services })
  const remote = await dialer.dial(ctxFor(5000), url)
  await server.close(0)
  await until('it has ended', () => remote.closed.aborted)
  t.match(remote.closed.reason, { code: 'UNAVAILABLE' })
  await t.rejects(remote.request(ctxFor(5000), ask), { code: 'UNAVAILABLE' })
  await t.rejects(dialer.dial(ctxFor(5000), url), { code: 'UNAVAILABLE', message: /ECONNREFUSED/ })
  t.ok(serverSource.current)
})

t.test('what cannot be dialled is unavailable by its url', async (t) => {
  const { dialer, clientSource } = await unixPair(t, { services })
  const fails = (url: string, code: string, message: RegExp): Promise<unknown> =>
    t.rejects(dialer.dial(ctxFor(5000), url), { code, message }, url)
  await fails('unix:///nowhere/s.sock', 'UNAVAILABLE', /unix:\/\/\/nowhere\/s\.sock.*ENOENT/)
  await fails('unix:///proc/self/fd/999', 'UNAVAILABLE', /descriptor is closed/)
  for (const url of ['http://a:1', 'tcp://a', 'tcp://a:65536', 'unix://a', 'tcp://[::1:80', '']) {
    await fails(url, 'INVALID_ARGUMENT', /url is/)
  }
  t.ok(clientSource.current)
})

t.test('a listener that stays silent is given up after the dial time-out, or with the caller', async (t) => {
  const silentServer = createServer(() => undefined)
  await new Promise<void>((resolve) => silentServer.listen(0, '127.0.0.1', resolve))
  const sockets = new Set<{ destroy(): void }>()
  silentServer.on('connection', (socket) => sockets.add(socket))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silentServer.close()
  })
  const url = `tcp://127.0.0.1:${(silentServer.address() as AddressInfo).port}`
  const clock = handClock()
  const { dialer } = await transportPair(t, { services, client: { clock, dialTimeoutMs: 750 } })
  const caller = new AbortController()
  const ctx = { ...ctxFor(5000), signal: caller.signal }
  const [first, second] = [dialer.dial(ctx, url), dialer.dial(ctxFor(5000), url)]
  const given = t.rejects(first, { code: 'ABORTED', message: 'no more' })
  caller.abort(new NsmError('ABORTED', 'no more'))
  await given
  const late = t.rejects(second, { code: 'UNAVAILABLE', message: `no session to ${url} within 750 ms` })
  await until('the listener was reached', () => sockets.size === 1)
  clock.advance(750)
  await late
})

/** A server as upstream's: it does not say that it keeps no descriptors, and keeps them. */
async function keepingServer(t: Test, pair: TestPair): Promise<string> {
  const path = `${socketFolder(t)}/keeping.sock`
  const methods = servedMethods(services)
  const limits = { maxRequestBytes: 65_536, maxResponseBytes: 65_536, maxStreams: 10, bodyTimeoutMs: 5000 }
  const common = { ...limits, methods, headers: {}, log: silent, clock: systemClock }
  const listener = await listenUnix(path, {}, (raw) => {
    void secureServerSocket(raw, pair.serverSource, anyId, AbortSignal.timeout(5000)).then((secured) => {
      Object.assign(secured.socket, { secureConnecting: false })
      const peer = { ...secured, spiffeId: secured.spiffeId.id, descriptors: raw }
      serveSession(secured.socket, { ...common, peer }, () => undefined)
    })
  })
  t.teardown(() => listener.close())
  return `unix://${path}`
}

t.test(
  'a session on which descriptors went to a peer that keeps them is not shared, and ends with its user',
  async (t) => {
    const pair = await unixPair(t, { services })
    const { dialer } = pair
    const url = await keepingServer(t, pair)
    const netns = await newNetns(t)
    const remote = await dialer.dial(ctxFor(5000), url)
    remote.peer.descriptors?.send(netns.fd)
    await remote.request(ctxFor(5000), ask)
    await until('the peer has it', () => openCount(netns.fd) === 2)
    const other = await dialer.dial(ctxFor(5000), url)
    t.not(other.peer, remote.peer)
    t.equal((await dialer.dial(ctxFor(5000), url)).peer, other.peer, 'one without descriptors is shared')
    remote.release()
    await until('the peer has let go', () => openCount(netns.fd) === 1)
  },
)

t.test(
  'a session on which descriptors went to a peer that keeps none stays shared, until a call fails',
  async (t) => {
    let refuse = false
    const networkService: NetworkService = {
      ...tail,
      async request(_ctx, req) {
        if (refuse) throw new NsmError('PERMISSION_DENIED', 'no')
        return connectionOf(req)
      },
    }
    const { dialer, url } = await unixPair(t, { services: { networkService } })
    const netns = await newNetns(t)
    const remote = await dialer.dial(ctxFor(5000), url)
    await remote.request(ctxFor(5000), ask)
    remote.peer.descriptors?.send(netns.fd)
    await remote.request(ctxFor(5000), ask)
    t.equal((await dialer.dial(ctxFor(5000), url)).peer, remote.peer)
    refuse = true
    await t.rejects(remote.request(ctxFor(5000), ask), { code: 'PERMISSION_DENIED' })
    t.not((await dialer.dial(ctxFor(5000), url)).peer, remote.peer, 'the peer may not have looked for it')
  },
)

t.test('a file that is no socket is no server', async (t) => {
  const { dialer, url } = await unixPair(t, { services })
  const path = url.slice('unix://'.length)
  renameSync(path, `${path}.away`)
  writeFileSync(path, '')
  await t.rejects(dialer.dial(ctxFor(5000), url), { code: 'UNAVAILABLE', message: /ECONNREFUSED/ })
  renameSync(`${path}.away`, path)
  t.equal((await (await dialer.dial(ctxFor(5000), url)).request(ctxFor(5000), ask)).id, 'a')
})
