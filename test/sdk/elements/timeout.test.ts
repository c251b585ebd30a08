import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { begin } from '@nsm/sdk/elements/begin.js'
import { timeout } from '@nsm/sdk/elements/timeout.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { recording, refusing } from '../../kit/elements.ts'

const connOf = (expires: Date | undefined, index = 1): Connection =>
  Connection.fromPartial({
    id: 'own',
    path: {
      index,
      pathSegments: [
        { name: 'client', id: 'c', ...(expires && { expires }) },
        { name: 'own', id: 'own' },
      ],
    },
  })

function server() {
  const clock = handClock()
  const timeouts = timeout()
  const seen = recording()
  const refuse = refusing()
  refuse.state.on = false
  const service = chain([begin('server'), timeouts, seen.element, refuse.element])
  const ctxWith = (leftMs?: number): Ctx => ({
    ...background({ clock }),
    deadlineMs: leftMs === undefined ? undefined : clock.now() + leftMs,
  })
  const request = (lifeMs: number, leftMs?: number) =>
    service.request(ctxWith(leftMs), {
      connection: connOf(new Date(clock.now() + lifeMs)),
      mechanismPreferences: [],
    })
  return { clock, timeouts, closes: seen.closes, refuse, service, ctxWith, request }
}

t.test('fires when the caller’s token expires, less what its deadline left', async (t) => {
  const { clock, closes, request } = server()
  await request(60_000, 15_000)
  await advance(clock, 44_999)
  t.equal(closes.length, 0)
  await advance(clock, 1)
  t.equal(closes.length, 1)
  t.equal(clock.pending, 0)
})

t.test('the margin is never more than half of the life', async (t) => {
  const { clock, closes, request } = server()
  await request(10_000, 60_000)
  await advance(clock, 4_999)
  t.equal(closes.length, 0)
  await advance(clock, 1)
  t.equal(closes.length, 1)
})

t.test('a refresh prolongs, one that fails does not', async (t) => {
  const { clock, closes, refuse, request } = server()
  await request(60_000, 15_000)
  await advance(clock, 40_000)
  await request(60_000, 15_000)
  await advance(clock, 40_000)
  t.equal(closes.length, 0)
  refuse.state.on = true
  await t.rejects(request(60_000, 15_000))
  await advance(clock, 5_000)
  t.equal(closes.length, 1)
})

t.test('Close and stop disarm', async (t) => {
  const { clock, closes, service, ctxWith, timeouts, request } = server()
  await request(60_000)
  await service.close(ctxWith(), connOf(undefined))
  t.equal(clock.pending, 0)
  await request(60_000)
  timeouts.stop()
  t.equal(clock.pending, 0)
  await advance(clock, 100_000)
  t.equal(closes.length, 1)
})

t.test('without expiry it is refused, without a previous hop it lives for ever', async (t) => {
  const { clock, closes, service, ctxWith } = server()
  const ask = (connection: Connection) => service.request(ctxWith(), { connection, mechanismPreferences: [] })
  await t.rejects(ask(connOf(undefined)), { code: 'INVALID_ARGUMENT' })
  await t.rejects(ask(connOf(new Date(Number.NaN))), { code: 'INVALID_ARGUMENT' })
  await ask(connOf(undefined, 0))
  t.equal(clock.pending, 0)
  t.equal(closes.length, 0)
})
