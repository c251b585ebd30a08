import { systemClock } from '@nsm/sdk/clock.js'
import t from 'tap'

t.test('runs once, and not after it was cancelled', async (t) => {
  let runs = 0
  const cancel = systemClock.after(0, () => t.fail('cancelled'))
  cancel()
  await new Promise<void>((resolve) => {
    const keepAlive = setTimeout(() => t.fail('never came'), 10_000)
    systemClock.after(1.5, () => {
      runs++
      clearTimeout(keepAlive)
      resolve()
    })
  })
  t.equal(runs, 1)
})

t.test('a long wait is made of few different ones, and ends when it is due', async (t) => {
  const delays: number[] = []
  let now = 1_000.25
  const waiting: (() => void)[] = []
  t.intercept(performance, 'now', { value: () => now })
  t.intercept(globalThis, 'setTimeout', {
    value: (run: () => void, ms: number) => {
      delays.push(ms)
      waiting.push(() => {
        now += ms
        run()
      })
      return { unref: () => undefined }
    },
  })
  let ranAt = 0
  systemClock.after(600_000.5, () => (ranAt = now))
  // Whoever sets the machine's time makes nothing wait longer or shorter.
  t.intercept(Date, 'now', { value: () => 0 })
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) next()
  t.equal(ranAt, 601_001.25)
  t.ok(delays.slice(0, -1).every((ms) => Number.isInteger(Math.log2(ms))))
  t.ok(delays.length < 12)

  delays.length = 0
  systemClock.after(1e12, () => undefined)
  t.ok((delays[0] ?? Infinity) < 2 ** 31, 'no longer than a timer can be')
})
