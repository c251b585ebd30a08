import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { native } from '@nsm/native/native.js'
import { chain, connectionOf, type Element, type NetworkService } from '@nsm/sdk/chain.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { callDescriptors } from '@nsm/sdk/elements/call-descriptors.js'
import { connectTo } from '@nsm/sdk/elements/connect-to.js'
import { mechanismTranslation } from '@nsm/sdk/elements/mechanism-translation.js'
import { recvFdClient } from '@nsm/sdk/elements/recv-fd-client.js'
import { recvFdServer } from '@nsm/sdk/elements/recv-fd-server.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import t, { type Test } from 'tap'
import { ctxFor, newNetns, openCount, unixPair } from '../../kit/transport.ts'
import { until } from '../../kit/until.ts'

function ask(url: string, id = 'a'): NetworkServiceRequest {
  const kernel = { cls: 'LOCAL', type: 'KERNEL', parameters: { inodeURL: url, name: 'nsm-1' } }
  return NetworkServiceRequest.fromPartial({ connection: { id }, mechanismPreferences: [kernel] })
}

const urlOf = (conn: Connection): string | undefined => conn.mechanism?.parameters['inodeURL']

/** Answers with the first preference, or the mechanism, as it came. */
function accepting(seen: string[] = []): Element {
  return {
    name: 'accepting',
    async request(_ctx, req) {
      const conn = connectionOf(req)
      const mechanism = conn.mechanism ?? req.mechanismPreferences[0]
      seen.push(mechanism?.parameters['inodeURL'] ?? '')
      return { ...conn, mechanism }
    },
    async close(_ctx, conn) {
      seen.push(urlOf(conn) ?? '')
    },
  }
}

/** How a namespace is named while a call holds it. */
const held = /^file:\/\/\/proc\/\d+\/fd\/\d+:\d+$/

/** Sees what is open while the call is served. */
function looking(kinds: string[]): Element {
  return {
    name: 'looking',
    async request(ctx, req, next) {
      const url = req.mechanismPreferences[0]?.parameters['inodeURL'] ?? ''
      const { dev, inode, kind } = native.describe(callDescriptors(ctx)?.byFileUrl(url)?.fd ?? -1)
      kinds.push(`${kind} ${dev}/${inode}`)
      return next.request(ctx, req)
    },
  }
}

/** A client whose requests go over a unix socket to `service`. */
async function clientOf(t: Test, service: NetworkService, elements: Element[]): Promise<NetworkService> {
  const { dialer, url } = await unixPair(t, { services: { networkService: service } })
  const client = clientChain({ name: 'nsc', dial: dialer.dial, url, elements })
  t.teardown(() => client.stop())
  return client
}

t.test('a namespace that a client passes is open for the call, and closed after it', async (t) => {
  const netns = await newNetns(t)
  const kinds: string[] = []
  const seen: string[] = []
  const service = chain([recvFdServer({ native }), looking(kinds), accepting(seen)])
  const client = await clientOf(t, service, [sendFdClient(native)])
  const conn = await client.request(ctxFor(5000), ask(netns.fileUrl))
  t.equal(urlOf(conn), netns.fileUrl, 'the caller reads its own text')
  t.same(kinds, [`netns ${netns.inodeUrl.slice('inode://'.length)}`])
  t.match(seen[0], held)
  t.equal(openCount(netns.fd), 1, 'nobody holds it')

  const refreshed = await client.request(ctxFor(5000), { ...ask(netns.fileUrl), connection: conn })
  t.equal(urlOf(refreshed), netns.fileUrl)
  await client.close(ctxFor(5000), conn)
  t.match(seen[2], held, 'close has it too')
  t.equal(openCount(netns.fd), 1)
})

t.test('through a manager: both ends learn their own text, and nothing stays open', async (t) => {
  const netns = await newNetns(t)
  const nseNetns = await newNetns(t)
  const seen: string[] = []
  const endpoint: Element = {
    ...accepting(),
    async request(_ctx, req) {
      const [offered] = req.mechanismPreferences
      seen.push(offered?.parameters['inodeURL'] ?? '')
      const parameters = { ...offered?.parameters, inodeURL: nseNetns.fileUrl }
      return { ...connectionOf(req), mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters } }
    },
  }
  const answers: string[] = []
  const translating: Element = {
    name: 'translating',
    async request(ctx, req, next) {
      const answer = await next.request(ctx, req)
      answers.push(urlOf(answer) ?? '')
      const { kind } = native.describe(callDescriptors(ctx)?.byFileUrl(answers.at(-1) ?? '')?.fd ?? -1)
      t.equal(kind, 'netns')
      return { ...answer, mechanism: req.mechanismPreferences[0] }
    },
  }
  const nse = await clientOf(t, chain([recvFdServer({ native }), sendFdServer(native), endpoint]), [
    recvFdClient(native),
    sendFdClient(native),
  ])
  const manager = chain([recvFdServer({ native }), sendFdServer(native), translating, connectTo(nse)])
  const client = await clientOf(t, manager, [sendFdClient(native)])

  for (const round of [0, 1]) {
    const conn = await client.request(ctxFor(5000), ask(netns.fileUrl))
    t.equal(urlOf(conn), netns.fileUrl)
    t.match(seen[round], held)
    t.match(answers[round], held)
    t.equal(openCount(netns.fd), 1, `of the client, round ${round}`)
    t.equal(openCount(nseNetns.fd), 1, `of the endpoint, round ${round}`)
  }
  await client.close(ctxFor(5000), connectionOf(ask(netns.fileUrl)))
  t.equal(openCount(netns.fd) + openCount(nseNetns.fd), 2)
})

t.test('refreshes through a forwarder have both namespaces each time', async (t) => {
  const [pod, nsePod] = [await newNetns(t), await newNetns(t)]
  const endpoint: Element = {
    name: 'endpoint',
    request: async (_ctx, req) => ({
      ...connectionOf(req),
      mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters: { inodeURL: nsePod.fileUrl } },
    }),
  }
  const seen: string[] = []
  const wiring: Element = {
    name: 'wiring',
    async request(ctx, req, next) {
      const answer = await next.request(ctx, req)
      const url = urlOf(answer) ?? ''
      const { dev, inode } = native.describe(callDescriptors(ctx)?.byFileUrl(url)?.fd ?? -1)
      seen.push(`inode://${dev}/${inode}`)
      return answer
    },
  }
  const nse = await clientOf(t, chain([sendFdServer(native), endpoint]), [
    mechanismTranslation(),
    wiring,
    recvFdClient(native),
    sendFdClient(native),
  ])
  const taking: Element = {
    name: 'taking',
    request(ctx, req, next) {
      const conn = connectionOf(req)
      const mechanism = conn.mechanism ?? req.mechanismPreferences[0]
      return next.request(ctx, { ...req, connection: { ...conn, mechanism } })
    },
  }
  const forwarder = chain([recvFdServer({ native }), sendFdServer(native), taking, connectTo(nse)])
  const client = await clientOf(t, forwarder, [sendFdClient(native)])
  let req = ask(pod.fileUrl)
  for (let round = 0; round < 5; round++) {
    const connection = await client.request(ctxFor(5000), req)
    t.equal(urlOf(connection), pod.fileUrl)
    req = { ...ask(pod.fileUrl), connection }
  }
  t.same(seen, Array(5).fill(nsePod.inodeUrl))
  t.equal(openCount(pod.fd) + openCount(nsePod.fd), 2)
})

t.test('many connections of one namespace at once', async (t) => {
  const netns = await newNetns(t)
  const slow: Element = {
    name: 'slow',
    async request(ctx, req, next) {
      await new Promise((resolve) => setTimeout(resolve, Number(connectionOf(req).id) % 7))
      return next.request(ctx, req)
    },
  }
  const client = await clientOf(t, chain([slow, recvFdServer({ native, waitMs: 2000 }), accepting()]), [
    sendFdClient(native),
  ])
  const conns = await Promise.all(
    Array.from({ length: 40 }, (_, i) => client.request(ctxFor(5000), ask(netns.fileUrl, `${i}`))),
  )
  t.equal(conns.length, 40)
  await until('all is closed', () => openCount(netns.fd) === 1)
})

t.test('what is no namespace of a pod is refused by name of the parameter', async (t) => {
  const service = chain([recvFdServer({ native, waitMs: 50 }), accepting()])
  const dir = t.testdir({ file: '' })
  const client = await clientOf(t, service, [sendFdClient(native)])
  const plain = await clientOf(t, service, [])
  const refused = (asked: NetworkService, url: string, code: string, message: RegExp): Promise<unknown> =>
    t.rejects(asked.request(ctxFor(5000), ask(url, url)), { code, message }, url)

  await refused(
    client,
    `file://${dir}/file`,
    'INVALID_ARGUMENT',
    /inodeURL inode:\S+ is a file, not a network/,
  )
  await refused(client, `file://${dir}`, 'INVALID_ARGUMENT', /is a directory/)
  await refused(client, 'file:///proc/self/ns/mnt', 'INVALID_ARGUMENT', /is a namespace, not a network/)
  await refused(client, 'file:///proc/self/ns/net', 'PERMISSION_DENIED', /namespace of this process/)
  await refused(plain, 'file:///proc/1/ns/net', 'PERMISSION_DENIED', /no path is taken/)
  await refused(plain, '/proc/1/ns/net', 'PERMISSION_DENIED', /no path is taken/)
  await refused(plain, 'inode://4/026532573', 'INVALID_ARGUMENT', /not inode/)
  await refused(plain, 'inode://4/4026532573/', 'INVALID_ARGUMENT', /not inode/)
  await refused(plain, 'inode://4/99999999999999999999', 'INVALID_ARGUMENT', /not inode/)
  await refused(plain, 'inode://4/1', 'DEADLINE_EXCEEDED', /no descriptor for mechanism parameter inodeURL/)
})

t.test('where callers are pods, only their own namespace is taken', async (t) => {
  const netns = await newNetns(t)
  const service = chain([recvFdServer({ native, ownNetnsOnly: () => true }), accepting()])
  const client = await clientOf(t, service, [sendFdClient(native)])
  await t.rejects(client.request(ctxFor(5000), ask(netns.fileUrl)), {
    code: 'PERMISSION_DENIED',
    message: /not the caller's own network namespace/,
  })
})

t.test('a caller that is no pod may not name its own namespace', async (t) => {
  const netns = await newNetns(t)
  const service = chain([recvFdServer({ native, neverOwnNetns: () => true }), accepting()])
  const client = await clientOf(t, service, [sendFdClient(native)])
  await client.request(ctxFor(5000), ask(netns.fileUrl))
  await t.rejects(client.request(ctxFor(5000), ask('file:///proc/self/ns/net', 'own')), {
    code: 'PERMISSION_DENIED',
    message: /namespace of the manager, not that of a pod/,
  })
})

t.test("a descriptor of an earlier call isn't sent when nothing is known of it", async (t) => {
  const client = await clientOf(t, chain([accepting()]), [sendFdClient(native)])
  await t.rejects(client.request(ctxFor(5000), ask(`file:///proc/${process.pid}/fd/0`)), {
    code: 'FAILED_PRECONDITION',
    message: /not open in this call/,
  })
})

t.test('a path in an answer is refused, and the connection closed', async (t) => {
  const closed: string[] = []
  const lying: NetworkService = {
    async request(_ctx, req) {
      const parameters = { inodeURL: 'file:///proc/1/ns/net' }
      return { ...connectionOf(req), mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters } }
    },
    close: async (_ctx, conn) => void closed.push(conn.id),
  }
  const client = await clientOf(t, lying, [recvFdClient(native), sendFdClient(native)])
  await t.rejects(client.request(ctxFor(5000), ask('')), {
    code: 'PERMISSION_DENIED',
    message: /no path is taken/,
  })
  t.same(closed, ['a'])
})
