import { Connection, Path } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { begin } from '@nsm/sdk/elements/begin.js'
import { refresh, refreshDelay } from '@nsm/sdk/elements/refresh.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { recording, refusing } from '../../kit/elements.ts'

const pathOf = (index: number, ...expires: (number | undefined)[]): Path =>
  Path.fromPartial({
    index,
    pathSegments: expires.map((ms) => (ms === undefined ? {} : { expires: new Date(ms) })),
  })

t.test('the delay is a share of the shortest life', (t) => {
  t.equal(refreshDelay(pathOf(0, 700_000, 610_000, 650_000), 10_000), 120_000, 'a fifth for the first one')
  t.equal(refreshDelay(pathOf(1, 610_000, 610_000), 10_000), 180_000, 'more for those behind')
  t.equal(refreshDelay(pathOf(0, 40_000), 10_000), 10_000, 'a third for one alone')
  t.equal(refreshDelay(pathOf(0, 10_000, 9_000), 10_000), 0)
  t.equal(refreshDelay(pathOf(0, undefined, 20_000), 10_000), 2_000)
  t.equal(refreshDelay(pathOf(0, undefined), 0), undefined)
  t.equal(refreshDelay(undefined, 0), undefined)
  t.end()
})

function client(lifeMs: number) {
  const clock = handClock()
  const refreshing = refresh()
  const { requests, closes, element } = recording()
  const refuse = refusing()
  refuse.state.on = false
  const service = chain([
    begin('client'),
    refreshing,
    element,
    refuse.element,
    {
      name: 'tokens',
      async request(ctx, req, next) {
        const expires = ctx.clock.now() + lifeMs
        return { ...(await next.request(ctx, req)), path: pathOf(0, expires, expires) }
      },
    },
  ])
  const ctx = background({ clock })
  const ask = () =>
    service.request(ctx, { connection: Connection.fromPartial({ id: 'a' }), mechanismPreferences: [] })
  return { clock, refreshing, requests, closes, refuse, service, ctx, ask }
}

t.test('asks again and again, each time from the newest answer', async (t) => {
  const { clock, requests, ask } = client(100_000)
  await ask()
  await advance(clock, 19_999)
  t.equal(requests.length, 1)
  await advance(clock, 1)
  t.equal(requests.length, 2)
  await advance(clock, 60_000)
  t.equal(requests.length, 5)
  t.equal(clock.pending, 1)
})

t.test('the caller’s own Request puts it off', async (t) => {
  const { clock, requests, ask } = client(100_000)
  await ask()
  await advance(clock, 10_000)
  await ask()
  await advance(clock, 19_999)
  t.equal(requests.length, 2)
  t.equal(clock.pending, 1)
})

t.test('a refresh that fails is tried every 200 ms until it succeeds', async (t) => {
  const { clock, requests, refuse, ask } = client(100_000)
  await ask()
  refuse.state.on = true
  await advance(clock, 20_000)
  t.equal(requests.length, 2)
  await advance(clock, 1_000)
  t.equal(requests.length, 7)
  refuse.state.on = false
  await advance(clock, 200)
  t.equal(requests.length, 8)
  await advance(clock, 19_000)
  t.equal(requests.length, 8)
})

t.test('Close and stop end it', async (t) => {
  const { clock, refreshing, requests, service, ctx, ask } = client(100_000)
  await service.close(ctx, await ask())
  t.equal(clock.pending, 0)
  await ask()
  refreshing.stop()
  t.equal(clock.pending, 0)
  await advance(clock, 100_000)
  t.equal(requests.length, 2)
})

t.test('tokens that are expired on arrival do not make a busy loop', async (t) => {
  const { clock, requests, ask } = client(-1)
  await ask()
  await advance(clock, 0)
  t.equal(requests.length, 2, 'at once')
  await advance(clock, 1_000)
  t.equal(requests.length, 7, 'and then every 200 ms')
})
