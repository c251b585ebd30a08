import { inParallel } from '@nsm/cli/cluster/in-parallel.js'
import t from 'tap'

t.test('a few at once, answers in order', async (t) => {
  let running = 0
  let most = 0
  const answers = await inParallel([5, 1, 3, 2, 4], 2, async (n) => {
    running += 1
    most = Math.max(most, running)
    await new Promise((resolve) => setTimeout(resolve, n))
    running -= 1
    return n * 2
  })
  t.strictSame(answers, [10, 2, 6, 4, 8])
  t.equal(most, 2)
  t.strictSame(await inParallel([], 2, async () => 1), [])
  await t.rejects(
    inParallel([1], 2, async () => {
      throw new Error('no')
    }),
    { message: 'no' },
  )
})
