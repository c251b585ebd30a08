import { NsmError } from '@nsm/sdk/errors.js'
import { silent } from '@nsm/sdk/log.js'
import { probe } from '@nsm/sdk/process/probe.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'

t.test('holds from the first answer on, and fails when several go missing in a row', async (t) => {
  const clock = handClock()
  let [answers, asked] = [false, 0]
  const { check, stop } = probe({
    log: silent,
    clock,
    async ask() {
      asked += 1
      if (!answers) throw new NsmError('UNAVAILABLE', 'nobody listens')
    },
  })
  t.equal(check(), 'not asked yet')
  await advance(clock, 0)
  t.equal(check(), 'nobody listens')
  answers = true
  await advance(clock, 1_000)
  t.equal(check(), undefined, 'asked again after a second')
  t.equal(asked, 2)
  answers = false
  await advance(clock, 11_000)
  t.equal(asked, 4)
  t.equal(check(), undefined, 'two may fail')
  await advance(clock, 1_000)
  t.equal(check(), 'nobody listens')
  stop()
  await advance(clock, 60_000)
  t.same([asked, clock.pending], [5, 0])
})

t.test('no answer in time is none', async (t) => {
  const clock = handClock()
  const { check, stop } = probe({
    log: silent,
    clock,
    ask: ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
  })
  await advance(clock, 5_000)
  t.equal(check(), 'no answer within 5000 ms')
  stop()
})
