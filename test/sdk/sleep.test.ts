import { background } from '@nsm/sdk/ctx.js'
import { sleep } from '@nsm/sdk/sleep.js'
import t from 'tap'
import { handClock } from '../kit/clock.ts'

t.test('waits by the clock', async (t) => {
  const clock = handClock()
  const asleep = sleep(background({ clock }), 100)
  t.equal(clock.pending, 1)
  clock.advance(100)
  await asleep
  t.equal(clock.pending, 0)
})

t.test('ends early with the signal, and leaves no timer', async (t) => {
  const clock = handClock()
  const caller = new AbortController()
  const asleep = sleep({ clock, signal: caller.signal }, 100)
  caller.abort()
  await t.rejects(asleep, { code: 'CANCELLED' })
  await t.rejects(sleep({ clock, signal: caller.signal }, 100), { code: 'CANCELLED' })
  t.equal(clock.pending, 0)
})
