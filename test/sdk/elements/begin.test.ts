import { Connection, State } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background, valueOf, withTimeout } from '@nsm/sdk/ctx.js'
import {
  begin,
  connectionEvents,
  reselecting,
  undoIfNew,
  type ConnectionEvents,
} from '@nsm/sdk/elements/begin.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { Refusal } from '@nsm/sdk/refusal.js'
import fc from 'fast-check'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.ts'

// The clock's timers alone don't keep a process: without this one it could end while a test waits for them.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

const ctx = background()
const ask = (id: string, conn: Partial<Connection> = {}): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({ connection: { id, ...conn } })
const connOf = (id: string, conn: Partial<Connection> = {}): Connection =>
  Connection.fromPartial({ id, ...conn })

/** Holds every call until it is let go. */
function gate() {
  const waiting: (() => void)[] = []
  let running = 0
  let most = 0
  async function held<T>(call: () => Promise<T>): Promise<T> {
    most = Math.max(most, ++running)
    await new Promise<void>((resolve) => waiting.push(resolve))
    running--
    return call()
  }
  const element: Element = {
    name: 'gate',
    request: (ctx, req, next) => held(() => next.request(ctx, req)),
    close: (ctx, conn, next) => held(() => next.close(ctx, conn)),
  }
  const letGo = async (): Promise<void> => {
    waiting.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { element, letGo, waiting, most: () => most }
}

/** Keeps the events of the last request. */
function eavesdrop(): { element: Element; events: () => ConnectionEvents } {
  let events: ConnectionEvents | undefined
  return {
    events: () => events as ConnectionEvents,
    element: {
      name: 'eavesdrop',
      request(ctx, req, next) {
        events = valueOf(ctx, connectionEvents)
        return next.request(ctx, req)
      },
    },
  }
}

t.test('calls of one connection take turns, of two they do not', async (t) => {
  const { element, letGo, waiting, most } = gate()
  const service = chain([begin('server'), element])
  const calls = [
    service.request(ctx, ask('a')),
    service.request(ctx, ask('a')),
    service.request(ctx, ask('b')),
    service.close(ctx, connOf('a')),
  ]
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(waiting.length, 2)
  t.equal(most(), 2)
  for (let i = 0; i < 4; i++) await letGo()
  await Promise.all(calls)
  t.equal(waiting.length, 0)
})

t.test('a caller that gives up leaves the queue, and a full queue is refused', async (t) => {
  const { element, letGo, waiting } = gate()
  const service = chain([begin('server', { maxWaiting: 1 }), element])
  const first = service.request(ctx, ask('a'))
  await t.rejects(
    withTimeout(ctx, 1, (timed) => service.request(timed, ask('a'))),
    { code: 'DEADLINE_EXCEEDED' },
  )
  const second = service.request(ctx, ask('a'))
  await t.rejects(service.request(ctx, ask('a')), { code: 'RESOURCE_EXHAUSTED' })
  await letGo()
  await letGo()
  await Promise.all([first, second])
  t.equal(waiting.length, 0)
})

t.test('connections are bounded, and a failed one makes room', async (t) => {
  const { state, element } = refusing()
  const service = chain([begin('server', { maxConnections: 1 }), element])
  await t.rejects(service.request(ctx, ask('a')), { code: 'UNAVAILABLE' })
  state.on = false
  await service.request(ctx, ask('b'))
  await t.rejects(service.request(ctx, ask('c')), { code: 'RESOURCE_EXHAUSTED' })
  await service.close(ctx, connOf('b'))
  await service.request(ctx, ask('c'))
  await t.rejects(service.request(ctx, ask('')), { code: 'INVALID_ARGUMENT' })
})

t.test('Close is with the stored connection, once; an unknown one is nothing', async (t) => {
  const { closes, element } = recording()
  const service = chain([begin('server'), element])
  await service.close(ctx, connOf('a'))
  await service.request(ctx, ask('a', { networkService: 'web' }))
  await service.close(ctx, connOf('a', { networkService: 'other' }))
  await service.close(ctx, connOf('a'))
  t.same(
    closes.map(({ networkService }) => networkService),
    ['web'],
  )
})

t.test('the answer is UP; a refused refresh leaves the connection as it was', async (t) => {
  const { state, element } = refusing()
  const { closes, element: seen } = recording()
  const service = chain([begin('server'), seen, element])
  state.on = false
  t.equal((await service.request(ctx, ask('a', { state: State.DOWN, payload: 'IP' }))).state, State.UP)
  state.on = true
  await t.rejects(service.request(ctx, ask('a', { payload: 'ETHERNET' })))
  await t.rejects(service.close(ctx, connOf('a')))
  t.equal(closes[0]?.payload, 'IP')
})

t.test('a refusal changes nothing, any other failed Close ends the connection', async (t) => {
  let err: NsmError = new Refusal('not yours')
  let closes = 0
  const service = chain([
    begin('server'),
    {
      name: 'failing',
      async close() {
        closes++
        throw err
      },
    },
  ])
  await service.request(ctx, ask('a'))
  await t.rejects(service.close(ctx, connOf('a')), { code: 'PERMISSION_DENIED' })
  await t.rejects(service.request(ctx, ask('a', { state: State.RESELECT_REQUESTED })), {
    code: 'PERMISSION_DENIED',
  })
  err = new NsmError('PERMISSION_DENIED', 'by somebody further on')
  await t.rejects(service.close(ctx, connOf('a')), { code: 'PERMISSION_DENIED' })
  await service.close(ctx, connOf('a'))
  t.equal(closes, 3)
})

t.test('a server that is asked to reselect closes what it has first', async (t) => {
  const { requests, closes, element } = recording()
  const service = chain([begin('server'), element])
  await service.request(ctx, ask('a', { payload: 'IP' }))
  await service.request(ctx, ask('a', { state: State.RESELECT_REQUESTED }))
  t.equal(closes[0]?.payload, 'IP')
  t.equal(requests[1]?.state, State.RESELECT_REQUESTED)
})

t.test('a client half fills in what its caller did not change', async (t) => {
  const { requests, element } = recording()
  const mechanism = { cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'nsm-1' } }
  const answering: Element = {
    name: 'answering',
    request: async (ctx, req, next) => ({
      ...(await next.request(ctx, req)),
      mechanism,
      networkServiceEndpointName: 'nse-1',
      labels: { own: 'label' },
    }),
  }
  const service = chain([begin('client'), element, answering])
  const first = await service.request(ctx, ask('a'))
  await service.request(ctx, ask('a', { networkServiceEndpointName: 'nse-1', labels: { own: 'label' } }))
  t.same(requests[1]?.mechanism, mechanism)
  await service.request(ctx, { ...ask('a'), connection: { ...first, networkServiceEndpointName: '' } })
  t.equal(requests[2]?.networkServiceEndpointName, '')
})

t.test('events run without the caller, in turn, and not when nobody wants them any more', async (t) => {
  const { requests, closes, element } = recording()
  const ear = eavesdrop()
  const caller = new AbortController()
  const service = chain([begin('server'), ear.element, element])
  await service.request({ ...ctx, signal: caller.signal }, ask('a'))
  caller.abort()
  const events = ear.events()
  const conn = await events.request({
    change: (req) => ({ ...req, connection: connOf('a', { payload: 'IP' }) }),
  })
  t.equal(conn?.payload, 'IP')
  t.equal(await events.request({ when: () => false }), undefined)
  await events.close({ when: () => false })
  t.equal(closes.length, 0)
  await events.close()
  await events.close()
  t.equal(await events.request(), undefined)
  t.equal(closes[0]?.payload, 'IP')
  t.same([requests.length, closes.length], [2, 1])
})

t.test('a reselect event closes and asks in one turn, and can be tried again', async (t) => {
  const { state, element } = refusing()
  const ear = eavesdrop()
  const marks: (true | undefined)[] = []
  const marking: Element = {
    name: 'marking',
    close(ctx, conn, next) {
      marks.push(valueOf(ctx, reselecting))
      return next.close(ctx, conn)
    },
  }
  const service = chain([begin('client'), ear.element, marking, element])
  state.on = false
  await service.request(ctx, ask('a'))
  state.on = true
  await t.rejects(ear.events().request({ reselect: true }), { code: 'UNAVAILABLE' })
  state.on = false
  t.ok(await ear.events().request({ reselect: true }))
  await service.close(ctx, connOf('a'))
  t.same(marks, [true, true, undefined])
})

t.test('Close by the caller of a client half stops an event that runs', async (t) => {
  const ear = eavesdrop()
  let first = true
  const hanging: Element = {
    name: 'hanging',
    async request(ctx, req, next) {
      if (first) {
        first = false
        return next.request(ctx, req)
      }
      return new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(NsmError.from(ctx.signal.reason)))
      })
    },
  }
  const service = chain([begin('client'), ear.element, hanging])
  await service.request(ctx, ask('a'))
  const event = ear.events().request()
  event.catch(() => undefined)
  await new Promise((resolve) => setImmediate(resolve))
  await service.close(ctx, connOf('a'))
  await t.rejects(event, { code: 'CANCELLED' })
})

t.test(
  'what a new connection has begun is undone when it fails later, a refresh undoes nothing',
  async (t) => {
    const undone: string[] = []
    const { state, element } = refusing()
    const beginning = (name: string): Element => ({
      name,
      async request(ctx, req, next) {
        valueOf(
          ctx,
          undoIfNew,
        )?.(async () => {
          undone.push(name)
          throw new Error('undo goes on')
        })
        return next.request(ctx, req)
      },
    })
    const service = chain([begin('server'), beginning('a'), beginning('b'), element])
    await t.rejects(service.request(ctx, ask('x')), { code: 'UNAVAILABLE' })
    t.same(undone, ['b', 'a'])
    state.on = false
    await service.request(ctx, ask('x'))
    state.on = true
    await t.rejects(service.request(ctx, ask('x')), { code: 'UNAVAILABLE' })
    t.equal(undone.length, 2)
  },
)

t.test('a new connection whose caller has gone meanwhile is closed', async (t) => {
  const { closes, element } = recording()
  const caller = new AbortController()
  const leaving: Element = {
    name: 'leaving',
    request(ctx, req, next) {
      caller.abort()
      return next.request(ctx, req)
    },
  }
  const service = chain([begin('server'), element, leaving])
  await t.rejects(service.request({ ...ctx, signal: caller.signal }, ask('a')), { code: 'CANCELLED' })
  t.equal(closes.length, 1)
  await service.close(ctx, connOf('a'))
  t.equal(closes.length, 1, 'and forgotten')
})

t.test(
  'any mix of calls: one at a time for each id, a Close after every Request that it follows',
  async () => {
    const call = fc.record({
      id: fc.constantFrom('a', 'b', '__proto__'),
      kind: fc.constantFrom('request', 'close', 'fail'),
      delay: fc.nat(2),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 25 }), async (calls) => {
        const running = new Set<string>()
        const open = new Set<string>()
        let broken = false
        const wait = async (id: string): Promise<void> => {
          broken ||= running.has(id)
          running.add(id)
          for (let i = 0; i < (calls.length % 3) + 1; i++)
            await new Promise((resolve) => setImmediate(resolve))
          running.delete(id)
        }
        const service = chain([
          begin('server'),
          {
            name: 'model',
            async request(_ctx, req) {
              const conn = req.connection ?? connOf('')
              await wait(conn.id)
              if (conn.payload === 'fail') throw new NsmError('UNAVAILABLE', 'as asked')
              open.add(conn.id)
              return conn
            },
            async close(_ctx, conn) {
              await wait(conn.id)
              broken ||= !open.delete(conn.id)
            },
          },
        ])
        await Promise.allSettled(
          calls.map(async ({ id, kind }) =>
            kind === 'close'
              ? service.close(ctx, connOf(id))
              : service.request(ctx, ask(id, { payload: kind })),
          ),
        )
        for (const id of ['a', 'b', '__proto__']) await service.close(ctx, connOf(id))
        return !broken && open.size === 0
      }),
      { numRuns: 50 },
    )
  },
)
