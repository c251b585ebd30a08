import { writeQueue } from '@nsm/registry/kubernetes/write-queue.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { settled } from '../../kit/settled.ts'

const waits = { outage: { isLost: true }, pauseMs: 100, restMs: 1000, random: () => 0 }

t.test('a few at a time, one of a name, the last of what waits', async (t) => {
  const clock = handClock()
  const done: string[] = []
  const finish: (() => void)[] = []
  const queue = writeQueue<number>(
    async (name, item) => {
      await new Promise<void>((resolve) => finish.push(resolve))
      done.push(`${name}${item}`)
      return true
    },
    { clock, concurrency: 2, ...waits },
  )
  for (const [name, item] of [
    ['a', 1],
    ['b', 1],
    ['a', 2],
    ['c', 1],
    ['a', 3],
  ] as const)
    queue.add(name, item)
  t.equal(finish.length, 2)
  t.equal(queue.size, 4)
  while (finish.length > 0) {
    finish.shift()?.()
    await settled()
  }
  t.same(done.toSorted(), ['a1', 'a3', 'b1', 'c1'])
  t.equal(queue.size, 0)
  t.notOk(queue.has('a'))
})

t.test(
  'while nobody answers: one that fails comes again after a pause, and so do all behind it',
  async (t) => {
    const clock = handClock()
    const tried: string[] = []
    let works = false
    const queue = writeQueue<number>(
      async (name, item) => {
        tried.push(`${name}${item}`)
        return works
      },
      { clock, concurrency: 1, ...waits },
    )
    queue.add('a', 1)
    queue.add('b', 1)
    await settled()
    t.same(tried, ['a1'])
    queue.add('a', 2)
    clock.advance(99)
    await settled()
    t.same(tried, ['a1'])
    works = true
    clock.advance(1)
    await settled()
    t.same(tried.toSorted(), ['a1', 'a2', 'b1'])
    works = false
    queue.add('c', 1)
    await settled()
    t.ok(queue.has('c'))
    queue.delete('c')
    queue.close()
    clock.advance(1000)
    await settled()
    t.same(
      tried.filter((one) => one.startsWith('c')),
      ['c1'],
    )
  },
)

t.test('otherwise only the one that failed rests', async (t) => {
  const clock = handClock()
  const tried: string[] = []
  const queue = writeQueue<number>(
    async (name, item) => {
      tried.push(`${name}${item}`)
      return name !== 'a'
    },
    { clock, concurrency: 1, ...waits, outage: { isLost: false } },
  )
  for (const name of ['a', 'b', 'c']) queue.add(name, 1)
  await settled()
  t.same(tried, ['a1', 'b1', 'c1'])
  queue.add('a', 2)
  clock.advance(999)
  await settled()
  t.equal(tried.length, 3)
  t.ok(queue.has('a'))
  t.equal(queue.size, 1)
  clock.advance(1)
  await settled()
  t.same(tried.slice(3), ['a2'])
  queue.delete('a')
  t.equal(queue.size, 0)
  queue.add('a', 3)
  await settled()
  queue.close()
  t.equal(clock.pending, 0)
})
