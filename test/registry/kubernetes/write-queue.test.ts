import { writeQueue } from '@nsm/registry/kubernetes/write-queue.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { settled } from '../../kit/settled.ts'

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
    { clock, concurrency: 2, pauseMs: () => 100 },
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

t.test('one that fails comes again after a pause, and so do all behind it', async (t) => {
  const clock = handClock()
  const tried: string[] = []
  let works = false
  const queue = writeQueue<number>(
    async (name, item) => {
      tried.push(`${name}${item}`)
      return works
    },
    { clock, concurrency: 1, pauseMs: () => 100 },
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
})
