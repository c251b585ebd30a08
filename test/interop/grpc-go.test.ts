import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Connection, ConnectionEvent, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { chain, connectionOf, tail, type ConnectionMonitor, type Element } from '@nsm/sdk/chain.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { background, valueOf, withCancel, withValue } from '@nsm/sdk/ctx.js'
import { callDescriptors } from '@nsm/sdk/elements/call-descriptors.js'
import { recvFdServer } from '@nsm/sdk/elements/recv-fd-server.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { incomingCall, newCall, outgoingCall, pathHeader } from '@nsm/sdk/transport/call.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import t, { type Test } from 'tap'
import { buildGo, jsonChild, type JsonChild } from '../kit/go-program.ts'
import { ctxFor, newNetns, openCount, transportPair, unixPair, type TestPair } from '../kit/transport.ts'
import { until } from '../kit/until.ts'

t.setTimeout(300_000)
const program = await buildGo(fileURLToPath(new URL('../../interop/grpc-go', import.meta.url)))
if ('missing' in program) {
  t.pass(`skipped: ${program.missing}`, { skip: program.missing })
} else {
  t.teardown(async () => program.remove())
  for (const [name, pair] of [['tcp', transportPair] as const, ['unix', unixPair] as const]) {
    clientTests(program.binary, name, pair)
    serverTests(program.binary, name, pair)
  }
  descriptorTests(program.binary)
}

type MakePair = typeof transportPair

function filesOf(t: Test, name: string, source: X509Source): string[] {
  const [svid] = source.current.svids
  const pem = { cert: '', key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }), roots: '' }
  pem.cert = svid.certificates.map(String).join('')
  pem.roots = [...source.current.bundles.values()].flat().map(String).join('')
  return Object.entries(pem).map(([what, text]) => {
    const path = `${t.testdirName}/${name}-${what}.pem`
    writeFileSync(path, text, { mode: 0o600 })
    return path
  })
}

function start(t: Test, binary: string, args: readonly string[]): JsonChild {
  const child = jsonChild(binary, ...args)
  t.teardown(async () => child.stop())
  return child
}

interface Command {
  readonly method: string
  readonly message: Uint8Array
  readonly metadata?: Record<string, string>
  readonly send?: string
  readonly recv?: boolean
  readonly stream?: number
  readonly timeoutMs?: number
}

interface Result {
  readonly code: number
  readonly text: string
  readonly header: Record<string, string>
  readonly replies: string[] | null
  readonly got?: string
}

/** A grpc-go client of our server. */
function goClient(t: Test, binary: string, pair: TestPair): (command: Command) => Promise<Result> {
  t.testdir({})
  const target = pair.url.startsWith('tcp') ? pair.url.replace('tcp://', 'passthrough:///') : pair.url
  const child = start(t, binary, ['client', target, ...filesOf(t, 'client', pair.clientSource)])
  return async ({ message, timeoutMs = 10_000, ...rest }) => {
    const line = { ...rest, timeoutMs, message: Buffer.from(message).toString('base64') }
    child.stdin.write(`${JSON.stringify(line)}\n`)
    return (await child.next()) as unknown as Result
  }
}

const bytesOf = (result: Result): Buffer => Buffer.from(result.replies?.[0] ?? '', 'base64')
const request = '/networkservice.NetworkService/Request'
const monitorPath = '/connection.MonitorConnection/MonitorConnections'
const ask = NetworkServiceRequest.fromPartial({ connection: { id: 'a', networkService: 'db' } })
const encoded = NetworkServiceRequest.encode(ask).finish()

function clientTests(binary: string, name: string, makePair: MakePair): void {
  t.test(`a grpc-go client is served over ${name}`, async (t) => {
    const seen: (string | undefined)[] = []
    let cancelled = 0
    const networkService = {
      ...chain([
        {
          name: 'looking',
          async request(ctx, req, next) {
            const headers = valueOf(ctx, incomingCall)?.requestHeaders
            seen.push(headers?.get('nsm-client-token'), ctx.peer?.spiffeId)
            if (connectionOf(req).id === 'no')
              throw new NsmError('PERMISSION_DENIED', 'no sufficient privileges: é 100 %')
            if (connectionOf(req).id === 'slow') await new Promise(() => undefined)
            return next.request(ctx, req)
          },
        } satisfies Element,
      ]),
    }
    const monitor: ConnectionMonitor = {
      async *monitor(ctx) {
        for (let n = 0; n < 3; n++)
          yield ConnectionEvent.fromPartial({ connections: { [`${n}`]: { id: `${n}` } } })
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve, { once: true }))
        cancelled += 1
      },
    }
    const networkServiceEndpoints = registryChain<NetworkServiceEndpoint, never, never>([
      {
        name: 'path',
        async register(ctx, item) {
          const call = valueOf(ctx, incomingCall)
          call?.responseHeaders.set(pathHeader, `${call.requestHeaders.get(pathHeader)}+1`)
          return item
        },
      },
    ])
    const pair = await makePair(t, { services: { networkService, monitor, networkServiceEndpoints } })
    const call = goClient(t, binary, pair)

    const metadata = { 'nsm-client-token': 'a.b.c', path: '{"Index":0,"PathSegments":null}' }
    const answered = await call({ method: request, message: encoded, metadata })
    t.match(answered, { code: 0, header: { 'nsm-keeps-no-descriptors': 'true' } })
    t.match(Connection.decode(bytesOf(answered)), { id: 'a', networkService: 'db' })
    t.same(seen, ['a.b.c', 'spiffe://k8s.nsm/ns/default/pod/client'])

    const endpoint = NetworkServiceEndpoint.encode(NetworkServiceEndpoint.fromPartial({ name: 'e' })).finish()
    const register = '/registry.NetworkServiceEndpointRegistry/Register'
    const registered = await call({ method: register, message: endpoint, metadata })
    t.match(registered, { code: 0, header: { path: '{"Index":0,"PathSegments":null}+1' } })

    const refused = NetworkServiceRequest.fromPartial({ connection: { id: 'no' } })
    const message = NetworkServiceRequest.encode(refused).finish()
    t.match(await call({ method: request, message }), { code: 7, text: 'no sufficient privileges: é 100 %' })
    const slow = NetworkServiceRequest.encode(
      NetworkServiceRequest.fromPartial({ connection: { id: 'slow' } }),
    ).finish()
    t.match(await call({ method: request, message: slow, timeoutMs: 200 }), { code: 4 })
    const large = NetworkServiceRequest.fromPartial({ connection: { id: 'x'.repeat(300_000) } })
    const tooLarge = await call({ method: request, message: NetworkServiceRequest.encode(large).finish() })
    t.match(tooLarge, { code: 8, text: /at most 65536/ })
    t.match(await call({ method: '/nowhere/Call', message: encoded }), { code: 12 })

    const streamed = await call({ method: monitorPath, message: new Uint8Array(), stream: 3 })
    t.match(streamed, { code: 0, replies: { length: 3 } })
    await until('the end of the stream is noticed', () => cancelled === 1)
  })
}

/** Our client, and the URL of a grpc-go server. */
async function goServer(t: Test, binary: string, pair: TestPair): Promise<{ url: string; child: JsonChild }> {
  t.testdir({})
  const isTcp = pair.url.startsWith('tcp')
  const address = isTcp ? '127.0.0.1:0' : `${pair.url}.go`
  const child = start(t, binary, ['server', address, ...filesOf(t, 'server', pair.serverSource)])
  const told = (await child.next()) as { address: string }
  return { url: isTcp ? `tcp://${told.address}` : `unix://${told.address}`, child }
}

function serverTests(binary: string, name: string, makePair: MakePair): void {
  t.test(`our client is served by grpc-go over ${name}`, async (t) => {
    const pair = await makePair(t, { services: { networkService: tail } })
    const { url, child } = await goServer(t, binary, pair)
    const remote = await pair.dialer.dial(ctxFor(5000), url)
    t.equal(remote.peer.spiffeId, 'spiffe://k8s.nsm/ns/nsm-system/pod/nsmgr')

    const call = newCall()
    call.requestHeaders.set(pathHeader, '{"Index":0,"PathSegments":[]}')
    const ctx = withValue(ctxFor(5000), outgoingCall, call)
    const conn = Connection.fromPartial({ id: 'a' })
    await remote.close(ctx, conn)
    t.match(Object.fromEntries(call.responseHeaders), {
      path: '{"Index":0,"PathSegments":[]}+1',
      method: '/networkservice.NetworkService/Close',
      token: `token of ${remote.peer.localSvid.id} for ${remote.peer.spiffeId}`,
      expires: '2027-01-15T08:00:00.123000000Z',
    })

    const failing = newCall()
    failing.requestHeaders.set('fail', 'no')
    await t.rejects(remote.close(withValue(ctxFor(5000), outgoingCall, failing), conn), {
      code: 'PERMISSION_DENIED',
      message: 'no 100 % ü',
    })

    await withCancel(background(), async (inner, cancel) => {
      let events = 0
      const read = async (): Promise<void> => {
        const selector = MonitorScopeSelector.fromPartial({})
        for await (const event of remote.monitor(inner, selector))
          if (event.type === 0 && ++events === 3) cancel('enough')
      }
      await t.rejects(read(), { message: 'enough' })
      t.same(await child.next(), { cancelled: true })
    })
    t.notOk(remote.closed.aborted)
  })
}

function descriptorTests(binary: string): void {
  const offer = (inodeURL: string): NetworkServiceRequest =>
    NetworkServiceRequest.fromPartial({ mechanismPreferences: [{ parameters: { inodeURL } }] })

  t.test('descriptors of grpcfd reach our server, and ours reach grpcfd', async (t) => {
    const [netns, nse] = [await newNetns(t), await newNetns(t)]
    const kinds: string[] = []
    const answering: Element = {
      name: 'answering',
      async request(ctx, req) {
        const url = req.mechanismPreferences[0]?.parameters['inodeURL'] ?? ''
        kinds.push(native.describe(callDescriptors(ctx)?.byFileUrl(url)?.fd ?? -1).kind)
        const mechanism = { cls: '', type: '', parameters: { inodeURL: nse.fileUrl } }
        return Connection.fromPartial({ id: 'a', mechanism })
      },
    }
    const networkService = chain([recvFdServer({ native }), sendFdServer(native), answering])
    const pair = await unixPair(t, { services: { networkService } })
    const call = goClient(t, binary, pair)
    const req = { ...offer(netns.inodeUrl), connection: Connection.fromPartial({}) }
    const message = NetworkServiceRequest.encode(req).finish()
    const path = `/proc/${process.pid}/fd/${netns.fd}`
    for (let round = 0; round < 5; round++) {
      const answered = await call({ method: request, message, send: path, recv: true })
      t.match(answered, { code: 0, got: nse.inodeUrl })
    }
    t.same(
      kinds,
      Array.from({ length: 5 }, () => 'netns'),
    )
    t.equal(openCount(netns.fd), 1)
    const missing = await call({ method: request, message, timeoutMs: 300 })
    t.equal(missing.code, 4, 'a descriptor that does not come is waited for until the deadline')
  })

  t.test('our descriptors reach a grpcfd server', async (t) => {
    const netns = await newNetns(t)
    const pair = await unixPair(t, { services: {} })
    const { url } = await goServer(t, binary, pair)
    const call = newCall()
    // The last text of the message is what the other side looks for: no path, and no element behind that adds one.
    const bare: Element = {
      name: 'bare',
      request: (ctx, req, next) =>
        next.request(withValue(ctx, outgoingCall, call), { ...req, connection: Connection.fromPartial({}) }),
    }
    const elements = [sendFdClient(native), bare]
    const client = clientChain({ name: 'nsc', dial: pair.dialer.dial, url, elements })
    t.teardown(() => client.stop())
    const req = { ...offer(netns.fileUrl), connection: Connection.fromPartial({ id: 'a' }) }
    // The request comes back as it was, which is no connection.
    await client.request(ctxFor(5000), req).catch(() => undefined)
    t.equal(call.responseHeaders.get('got'), netns.inodeUrl)
  })
}
