import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { retry } from '@nsm/sdk/elements/retry.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { refusing } from '../../kit/elements.ts'

const req = { connection: Connection.fromPartial({ id: 'a' }), mechanismPreferences: [] }

t.test('tries every 200 ms until it succeeds', async (t) => {
  const clock = handClock()
  const { state, element } = refusing()
  const service = chain([retry(), element])
  const answer = service.request(background({ clock }), req)
  await advance(clock, 999)
  t.equal(state.requests, 5)
  state.on = false
  await advance(clock, 1)
  t.equal((await answer).id, 'a')
  state.on = true
  const closed = service.close(background({ clock }), req.connection)
  await advance(clock, 200)
  t.equal(state.closes, 2)
  state.on = false
  await advance(clock, 200)
  await closed
  t.equal(clock.pending, 0)
})

t.test('each try has its own time', async (t) => {
  const clock = handClock()
  let tries = 0
  const service = chain([
    retry({ tryTimeoutMs: 1_000, intervalMs: 100 }),
    {
      name: 'hanging once',
      async request(ctx, req, next) {
        if (++tries > 1) return next.request(ctx, req)
        return new Promise((_, reject) => {
          ctx.signal.addEventListener('abort', () => reject(NsmError.from(ctx.signal.reason)))
        })
      },
    },
  ])
  const answer = service.request(background({ clock }), req)
  await advance(clock, 1_100)
  t.equal((await answer).id, 'a')
  t.equal(tries, 2)
})

t.test('a caller that gives up hears why it failed', async (t) => {
  const clock = handClock()
  const caller = new AbortController()
  const service = chain([retry(), refusing().element])
  const answer = service.request(background({ clock, signal: caller.signal }), req)
  await advance(clock, 300)
  caller.abort()
  await t.rejects(answer, { code: 'UNAVAILABLE' })
  t.equal(clock.pending, 0)
})
