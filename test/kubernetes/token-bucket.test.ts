import { lines } from '@nsm/kubernetes/lines.js'
import { tokenBucket } from '@nsm/kubernetes/token-bucket.js'
import fc from 'fast-check'
import t from 'tap'
import { advance } from '../kit/advance.ts'
import { handClock } from '../kit/clock.ts'
import { settled } from '../kit/settled.ts'

const never = new AbortController().signal

t.test('a burst, then a steady rate, in the order of calls', async (t) => {
  const clock = handClock()
  const bucket = tokenBucket({ perSecond: 10, burst: 3 }, clock, 3)
  const order: number[] = []
  for (let n = 0; n < 6; n += 1) void bucket.take(never).then(() => order.push(n))
  await settled()
  t.same(order, [0, 1, 2])
  t.notOk(bucket.tryTake(), 'who waits is first')
  await t.rejects(bucket.take(never), {
    code: 'RESOURCE_EXHAUSTED',
    message: '3 calls wait for their turn already',
  })
  await advance(clock, 100)
  t.same(order, [0, 1, 2, 3])
  await advance(clock, 200)
  t.same(order, [0, 1, 2, 3, 4, 5])
  t.notOk(bucket.tryTake())
  clock.advance(60_000)
  t.same(
    Array.from({ length: 4 }, () => bucket.tryTake()),
    [true, true, true, false],
  )
})

t.test('who leaves takes nothing; a clock that is set gives nothing', async (t) => {
  const clock = handClock()
  const bucket = tokenBucket({ perSecond: 1, burst: 1 }, clock, 2)
  t.ok(bucket.tryTake())
  const controller = new AbortController()
  const leaving = bucket.take(controller.signal)
  const staying = bucket.take(never)
  controller.abort(new Error('enough'))
  await t.rejects(leaving, { message: 'enough' })
  await t.rejects(bucket.take(controller.signal), { message: 'enough' })
  await advance(clock, 1000)
  await staying
  clock.set(3_600_000)
  t.notOk(bucket.tryTake())
})

t.test('lines, however the text is cut', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string({ unit: fc.constantFrom('a', 'ä', '\n', ' ') })), async (chunks) => {
      const found: string[] = []
      for await (const line of lines(chunksOf(chunks))) found.push(line)
      const whole = chunks.join('').split('\n').slice(0, -1)
      t.same(
        found,
        whole.filter((line) => line.trim() !== ''),
      )
    }),
  )
  const endless = chunksOf(Array.from({ length: 20 }, () => 'x'.repeat(1_048_576)))
  await t.rejects(lines(endless).next(), { code: 'RESOURCE_EXHAUSTED' })
})

async function* chunksOf(chunks: readonly string[]): AsyncGenerator<string> {
  yield* chunks
}
