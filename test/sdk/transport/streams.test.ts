import { ConnectionEvent, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { connectionOf, tail, type ConnectionMonitor, type NetworkService } from '@nsm/sdk/chain.js'
import { background, withCancel, type Ctx } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { ctxFor, transportPair } from '../../kit/transport.ts'
import { until } from '../../kit/until.ts'

const all = MonitorScopeSelector.fromPartial({})
const event = (id: string): ConnectionEvent => ConnectionEvent.fromPartial({ connections: { [id]: { id } } })

/** Tells one event, then waits until its caller has gone. */
function waiting(): { monitor: ConnectionMonitor; seen: Ctx[]; ended: () => number } {
  const seen: Ctx[] = []
  let ended = 0
  return {
    seen,
    ended: () => ended,
    monitor: {
      async *monitor(ctx) {
        seen.push(ctx)
        try {
          yield event('first')
          await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve, { once: true }))
        } finally {
          ended += 1
        }
      },
    },
  }
}

t.test('events arrive in order, and a status at the end', async (t) => {
  const monitor: ConnectionMonitor = {
    async *monitor() {
      for (let n = 0; n < 50; n++) yield event(`${n}`)
      throw new NsmError('FAILED_PRECONDITION', 'that is all')
    },
  }
  const { dialer, url } = await transportPair(t, { services: { monitor } })
  const remote = await dialer.dial(ctxFor(5000), url)
  const ids: string[] = []
  await t.rejects(
    async () => {
      for await (const { connections } of remote.monitor(ctxFor(5000), all))
        ids.push(...Object.keys(connections))
    },
    { code: 'FAILED_PRECONDITION', message: 'that is all' },
  )
  t.same(
    ids,
    Array.from({ length: 50 }, (_, n) => `${n}`),
  )
})

t.test('a caller that stops reading ends the stream on the server', async (t) => {
  const { monitor, ended } = waiting()
  const { dialer, url } = await transportPair(t, { services: { monitor } })
  const remote = await dialer.dial(ctxFor(5000), url)
  for await (const one of remote.monitor(background(), all)) {
    t.ok(one.connections['first'])
    break
  }
  await until('the server has noticed', () => ended() === 1)
})

t.test('a cancelled caller ends the stream on both sides', async (t) => {
  const { monitor, ended } = waiting()
  const { dialer, url } = await transportPair(t, { services: { monitor } })
  const remote = await dialer.dial(ctxFor(5000), url)
  await withCancel(background(), async (ctx, cancel) => {
    await t.rejects(
      async () => {
        for await (const one of remote.monitor(ctx, all)) cancel(new NsmError('ABORTED', `after ${one.type}`))
      },
      { code: 'ABORTED', message: 'after 0' },
    )
  })
  await until('the server has noticed', () => ended() === 1)
  t.notOk(remote.closed.aborted)
})

t.test('a slow reader holds the server back', async (t) => {
  let told = 0
  const monitor: ConnectionMonitor = {
    async *monitor() {
      for (;;) {
        told += 1
        yield event('x'.repeat(10_000))
      }
    },
  }
  const { dialer, url } = await transportPair(t, { services: { monitor } })
  const remote = await dialer.dial(ctxFor(5000), url)
  const events = remote.monitor(background(), all)[Symbol.asyncIterator]()
  await events.next()
  let last = -1
  await until('the server has come to a halt', () => {
    const halted = told === last
    last = told
    return halted
  })
  t.ok(told < 100, `${told} events were made for one that was read`)
  await events.next()
  await events.return?.()
})

t.test('a server that stops ends streams at once and lets calls finish', async (t) => {
  const { monitor } = waiting()
  let finish: () => void = () => undefined
  let asked = false
  const networkService: NetworkService = {
    ...tail,
    async request(_ctx, req) {
      asked = true
      await new Promise<void>((resolve) => (finish = resolve))
      return connectionOf(req)
    },
  }
  const { dialer, url, server } = await transportPair(t, { services: { monitor, networkService } })
  const remote = await dialer.dial(ctxFor(5000), url)
  const events = remote.monitor(background(), all)[Symbol.asyncIterator]()
  await events.next()
  const call = remote.request(ctxFor(5000), NetworkServiceRequest.fromPartial({ connection: { id: 'a' } }))
  await until('the call is there', () => asked)
  const stopped = server.close(10_000)
  await t.rejects(events.next(), { code: 'UNAVAILABLE' })
  await t.rejects(dialer.dial(ctxFor(5000), url), { code: 'UNAVAILABLE', message: new RegExp(url) })
  finish()
  t.equal((await call).id, 'a')
  await stopped
  await until('the session has ended', () => remote.closed.aborted)
})

t.test('a peer that dies in a call is unavailable', async (t) => {
  const { monitor } = waiting()
  let asked = false
  const networkService: NetworkService = {
    ...tail,
    request: () => ((asked = true), new Promise(() => undefined)),
  }
  const { dialer, url, server } = await transportPair(t, { services: { monitor, networkService } })
  const remote = await dialer.dial(ctxFor(5000), url)
  const events = remote.monitor(background(), all)[Symbol.asyncIterator]()
  await events.next()
  const call = remote.request(background(), NetworkServiceRequest.fromPartial({ connection: { id: 'a' } }))
  const failed = t.rejects(call, { code: 'UNAVAILABLE', message: new RegExp(url) })
  await until('the call is there', () => asked)
  await server.close(0)
  await failed
  await t.rejects(events.next(), { code: 'UNAVAILABLE' })
  await t.rejects(remote.request(background(), NetworkServiceRequest.fromPartial({})), {
    code: 'UNAVAILABLE',
  })
})

t.test('a stream goes on when the SVIDs of both ends rotate', async (t) => {
  const told: (() => void)[] = []
  const monitor: ConnectionMonitor = {
    async *monitor() {
      for (let n = 0; ; n++) {
        yield event(`${n}`)
        await new Promise<void>((resolve) => told.push(resolve))
      }
    },
  }
  const { dialer, url, serverSource, clientSource } = await transportPair(t, { services: { monitor } })
  const remote = await dialer.dial(ctxFor(5000), url)
  const events = remote.monitor(ctxFor(5000), all)[Symbol.asyncIterator]()
  await events.next()
  serverSource.rotate()
  clientSource.rotate()
  const next = events.next()
  await until('the server waits', () => told.length > 0)
  told[0]?.()
  t.ok((await next).value.connections['1'])
  const fresh = await dialer.dial(ctxFor(5000), url)
  t.equal(fresh.peer.localSvid, clientSource.current.svids[0])
  t.not(remote.peer.localSvid, fresh.peer.localSvid)
  t.same(fresh.peer.certificate.raw, serverSource.current.svids[0].certificates[0].raw)
})
