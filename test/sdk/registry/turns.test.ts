import { NsmError } from '@nsm/sdk/errors.js'
import { turns } from '@nsm/sdk/registry/turns.js'
import fc from 'fast-check'
import t from 'tap'
import { settled } from '../../kit/settled.ts'

t.test('one at a time per name, in order, whatever fails or gives up', async () => {
  const call = fc.record({ name: fc.constantFrom('a', 'b'), fails: fc.boolean(), givesUp: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(fc.array(call, { maxLength: 20 }), async (calls) => {
      const queue = turns(100)
      const running = new Map<string, number>()
      const done: Record<string, number[]> = { a: [], b: [] }
      const all = calls.map(async ({ name, fails, givesUp }, n) => {
        const controller = new AbortController()
        const first = !calls.slice(0, n).some((earlier) => earlier.name === name)
        const run = queue.run(name, controller.signal, async () => {
          running.set(name, (running.get(name) ?? 0) + 1)
          if (running.get(name) !== 1) throw new Error('two at a time')
          await Promise.resolve()
          done[name]?.push(n)
          running.set(name, 0)
          if (fails) throw new NsmError('INTERNAL', 'failed')
        })
        if (givesUp && !first) controller.abort(new NsmError('CANCELLED', 'given up'))
        const code = await run.then(
          () => 'OK',
          (err: unknown) => NsmError.from(err).code,
        )
        const wanted = givesUp && !first ? 'CANCELLED' : fails ? 'INTERNAL' : 'OK'
        if (code !== wanted) throw new Error(`call ${n}: ${code}, not ${wanted}`)
      })
      await Promise.all(all)
      for (const order of Object.values(done))
        if (order.some((n, i) => n < (order[i - 1] ?? -1))) throw new Error('out of order')
    }),
    { numRuns: 50 },
  )
})

t.test('nothing is left of a name whose calls are over', async (t) => {
  const queue = turns(0)
  await queue.run('a', undefined, async () => {
    await t.rejects(
      queue.run('a', undefined, async () => undefined),
      { code: 'RESOURCE_EXHAUSTED' },
    )
  })
  t.equal(await queue.run('a', undefined, async () => 1), 1)
  await t.rejects(
    queue.run('a', AbortSignal.abort(new NsmError('CANCELLED', 'x')), async () => 1),
    {
      code: 'CANCELLED',
    },
  )
})

t.test('a few at once, the others in order', async (t) => {
  const queue = turns(2, 2)
  const begun: number[] = []
  const finish: (() => void)[] = []
  const run = (n: number): Promise<void> =>
    queue.run('a', undefined, async () => {
      begun.push(n)
      await new Promise<void>((resolve) => finish.push(resolve))
    })
  const calls = [run(0), run(1), run(2), run(3)]
  await t.rejects(run(4), { code: 'RESOURCE_EXHAUSTED', message: '2 calls already wait for a' })
  await settled()
  t.same(begun, [0, 1])
  finish.shift()?.()
  await settled()
  t.same(begun, [0, 1, 2])
  while (finish.length > 0) {
    finish.shift()?.()
    await settled()
  }
  await Promise.all(calls)
  t.same(begun, [0, 1, 2, 3])
})
