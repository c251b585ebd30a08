import { taskQueue } from '@nsm/sdk/registry/task-queue.js'
import t from 'tap'
import { settled } from '../../kit/settled.ts'

t.test('tasks run in order, a few at a time, also those added later', async (t) => {
  const queue = taskQueue(2)
  const order: number[] = []
  const ends: (() => void)[] = []
  const add = (n: number): void =>
    queue.add(async () => {
      order.push(n)
      await new Promise<void>((resolve) => ends.push(resolve))
    })
  for (const n of [0, 1, 2]) add(n)
  t.same(order, [0, 1])
  ends[1]?.()
  await settled()
  t.same(order, [0, 1, 2])
  for (const end of ends) end()
  await settled()
  add(3)
  t.same(order, [0, 1, 2, 3])
  for (const end of ends) end()
})
