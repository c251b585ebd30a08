import { serialQueue } from '@nsm/sdk/serial-queue.js'
import { background, withTimeout } from '@nsm/sdk/ctx.js'
import t from 'tap'
import { settled } from '../kit/settled.ts'

const { signal } = background()

t.test('one at a time, in the order of arrival, also after a failure', async (t) => {
  const queue = serialQueue(10)
  const seen: string[] = []
  const body = (name: string) => async () => {
    seen.push(`${name} begins`)
    await settled()
    seen.push(`${name} ends`)
    if (name === 'b') throw new Error('as asked')
    return name
  }
  const results = await Promise.allSettled(['a', 'b', 'c'].map((name) => queue.run(signal, body(name))))
  t.same(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.same(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  t.ok(queue.idle)
})

t.test('who gives up leaves, who comes too late is refused', async (t) => {
  const queue = serialQueue(1)
  let end = (): void => undefined
  const first = queue.run(signal, () => new Promise<void>((resolve) => (end = resolve)))
  await t.rejects(
    withTimeout(background(), 1, (ctx) => queue.run(ctx.signal, async () => t.fail('never runs'))),
    { code: 'DEADLINE_EXCEEDED' },
  )
  const second = queue.run(signal, async () => 'second')
  await t.rejects(
    queue.run(signal, async () => undefined),
    { code: 'RESOURCE_EXHAUSTED' },
  )
  end()
  await first
  t.equal(await second, 'second')
  await t.rejects(
    queue.run(AbortSignal.abort(), async () => undefined),
    { code: 'CANCELLED' },
  )
  t.ok(queue.idle)
})
