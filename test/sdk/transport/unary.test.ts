import { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import type { NetworkService } from '@nsm/sdk/chain.js'
import { tail } from '@nsm/sdk/chain.js'
import { background, timeLeft, valueOf, withCancel, withValue, type Ctx } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { incomingCall, newCall, outgoingCall, pathHeader } from '@nsm/sdk/transport/call.js'
import t from 'tap'
import { ctxFor, transportPair } from '../../kit/transport.ts'

const ask = NetworkServiceRequest.fromPartial({ connection: { id: 'a', networkService: 'db' } })

/** Remembers the context of each call. */
function watching(service: NetworkService): { service: NetworkService; seen: Ctx[] } {
  const seen: Ctx[] = []
  return {
    seen,
    service: {
      request: (ctx, req) => (seen.push(ctx), service.request(ctx, req)),
      close: (ctx, conn) => (seen.push(ctx), service.close(ctx, conn)),
    },
  }
}

t.test('a request and a close arrive with peer, token and deadline', async (t) => {
  const { service, seen } = watching(tail)
  const { dialer, url, clientSource } = await transportPair(t, { services: { networkService: service } })
  const remote = await dialer.dial(ctxFor(5000), url)
  t.equal(remote.peer.spiffeId, 'spiffe://k8s.nsm/ns/nsm-system/pod/nsmgr')
  const conn = await remote.request(ctxFor(5000), ask)
  t.match(conn, { id: 'a', networkService: 'db' })
  await remote.close(background(), Connection.fromPartial({ id: 'a' }))

  const [requested, closed] = seen
  if (requested === undefined) throw new Error('the server saw nothing')
  t.equal(requested.peer?.spiffeId, 'spiffe://k8s.nsm/ns/default/pod/client')
  t.equal(
    requested.peer?.certificate.fingerprint256,
    clientSource.current.svids[0].certificates[0].fingerprint256,
  )
  t.ok((timeLeft(requested) ?? 0) > 0 && (timeLeft(requested) ?? Infinity) <= 5000)
  t.equal(closed?.deadlineMs, undefined)
  const headers = valueOf(requested, incomingCall)?.requestHeaders
  t.equal(
    headers?.get('nsm-client-token'),
    'token of spiffe://k8s.nsm/ns/default/pod/client for spiffe://k8s.nsm/ns/nsm-system/pod/nsmgr',
  )
  t.equal(headers?.get('nsm-client-token-expires'), '2027-01-15T08:00:00.123000000Z')
  remote.release()
})

t.test('headers travel both ways, the answer before the message', async (t) => {
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
  const { dialer, url } = await transportPair(t, { services: { networkServiceEndpoints } })
  const remote = await dialer.dial(ctxFor(5000), url)
  const call = newCall()
  call.requestHeaders.set(pathHeader, '{"Index":0,"PathSegments":[]}')
  const ctx = withValue(ctxFor(5000), outgoingCall, call)
  await remote.networkServiceEndpoints.register(ctx, NetworkServiceEndpoint.fromPartial({ name: 'e' }))
  t.equal(call.responseHeaders.get(pathHeader), '{"Index":0,"PathSegments":[]}+1')
  t.equal(call.answeredBy, remote.peer)
})

t.test('an error keeps its code and its text, whatever is in it', async (t) => {
  const text = 'no address in 10.0.0.0/8: 100 % used, ask é \ud800 \r\n 🙂'
  const service: NetworkService = {
    ...tail,
    request: async () => Promise.reject(new NsmError('RESOURCE_EXHAUSTED', text)),
    close: async () => Promise.reject(new TypeError('x'.repeat(100_000))),
  }
  const { dialer, url } = await transportPair(t, { services: { networkService: service } })
  const remote = await dialer.dial(ctxFor(5000), url)
  await t.rejects(remote.request(ctxFor(5000), ask), {
    code: 'RESOURCE_EXHAUSTED',
    message: text.replace('\ud800', '\ufffd'),
  })
  await t.rejects(remote.close(ctxFor(5000), Connection.fromPartial({})), {
    code: 'UNKNOWN',
    message: /^x{4096}$/,
  })
})

t.test('a service that is not there is unimplemented', async (t) => {
  const { dialer, url } = await transportPair(t, { services: {} })
  const remote = await dialer.dial(ctxFor(5000), url)
  await t.rejects(remote.request(ctxFor(5000), ask), {
    code: 'UNIMPLEMENTED',
    message: /NetworkService\/Request/,
  })
})

t.test('too large requests and answers are refused, and the session lives on', async (t) => {
  const large = 'x'.repeat(100_000)
  const { service } = watching(tail)
  const { dialer, url } = await transportPair(t, {
    services: { networkService: service },
    client: { maxResponseBytes: 1000 },
  })
  const remote = await dialer.dial(ctxFor(5000), url)
  const tooLarge = NetworkServiceRequest.fromPartial({ connection: { id: large } })
  await t.rejects(remote.request(ctxFor(5000), tooLarge), { code: 'RESOURCE_EXHAUSTED', message: /65536/ })
  const answeredLarge = NetworkServiceRequest.fromPartial({ connection: { id: 'y'.repeat(2000) } })
  await t.rejects(remote.request(ctxFor(5000), answeredLarge), {
    code: 'RESOURCE_EXHAUSTED',
    message: /1000/,
  })
  t.equal((await remote.request(ctxFor(5000), ask)).id, 'a')
  t.notOk(remote.closed.aborted)
})

t.test('a connection that could not be sent on as a request is no answer', async (t) => {
  const service: NetworkService = {
    ...tail,
    request: async () => Connection.fromPartial({ id: 'a', labels: { x: 'y'.repeat(70_000) } }),
  }
  const { dialer, url } = await transportPair(t, { services: { networkService: service } })
  const remote = await dialer.dial(ctxFor(5000), url)
  await t.rejects(remote.request(ctxFor(5000), ask), {
    code: 'RESOURCE_EXHAUSTED',
    message: /^answer of \/networkservice.NetworkService\/Request has 70\d+ bytes, at most 65536 are taken$/,
  })
  remote.release()
})

t.test('cancelling reaches the handler', async (t) => {
  const reached = deferred<Ctx>()
  const service: NetworkService = {
    ...tail,
    request: (ctx) => (reached.resolve(ctx), new Promise(() => undefined)),
  }
  const { dialer, url } = await transportPair(t, { services: { networkService: service } })
  const remote = await dialer.dial(ctxFor(5000), url)
  await withCancel(background(), async (ctx, cancel) => {
    const call = remote.request(ctx, ask)
    const { signal } = await reached.promise
    const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    cancel(new NsmError('ABORTED', 'changed my mind'))
    await t.rejects(call, { code: 'ABORTED', message: 'changed my mind' })
    await aborted
    t.equal(NsmError.from(signal.reason).code, 'CANCELLED')
  })
  t.equal((await dialer.dial(ctxFor(5000), url)).peer, remote.peer, 'the session is still good')
})

t.test('a deadline ends the call on both sides', async (t) => {
  const reached = deferred<Ctx>()
  const service: NetworkService = {
    ...tail,
    request: (ctx) => (reached.resolve(ctx), new Promise(() => undefined)),
  }
  const { dialer, url } = await transportPair(t, { services: { networkService: service } })
  const remote = await dialer.dial(ctxFor(5000), url)
  await t.rejects(remote.request(ctxFor(100), ask), { code: 'DEADLINE_EXCEEDED' })
  const { signal } = await reached.promise
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  await t.rejects(remote.request({ ...ctxFor(5000), deadlineMs: Date.now() - 1 }, ask), {
    code: 'DEADLINE_EXCEEDED',
  })
})

t.test('a hundred calls at once share one session', async (t) => {
  const { service, seen } = watching(tail)
  const { dialer, url } = await transportPair(t, { services: { networkService: service } })
  const ids = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const remote = await dialer.dial(ctxFor(10_000), url)
      const request = NetworkServiceRequest.fromPartial({ connection: { id: `${i}` } })
      const { id } = await remote.request(ctxFor(10_000), request)
      remote.release()
      return id
    }),
  )
  t.same(
    ids,
    Array.from({ length: 100 }, (_, i) => `${i}`),
  )
  t.equal(new Set(seen.map((ctx) => ctx.peer)).size, 1)
})

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined
  const promise = new Promise<T>((done) => (resolve = done))
  return { promise, resolve }
}
