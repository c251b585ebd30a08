import { eventQueue } from '@nsm/sdk/elements/event-queue.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'

t.test('events come in order, those that wait and those that follow', async (t) => {
  const queue = eventQueue<number>(10)
  const caller = new AbortController()
  queue.push(1)
  queue.push(2)
  const events = queue.drain(caller.signal)
  t.equal((await events.next()).value, 1)
  queue.push(3)
  t.equal((await events.next()).value, 2)
  t.equal((await events.next()).value, 3)
  const pending = events.next()
  queue.push(4)
  t.equal((await pending).value, 4)
  const last = events.next()
  caller.abort()
  t.same(await last, { done: true, value: undefined })
})

t.test('past the bound the reader is told, and nothing is kept', async (t) => {
  const queue = eventQueue<number>(2)
  queue.force(0)
  for (let i = 1; i <= 5; i++) queue.push(i)
  await t.rejects(queue.drain(new AbortController().signal).next(), { code: 'RESOURCE_EXHAUSTED' })
})

t.test('an ended queue gives what waits, then the reason', async (t) => {
  const queue = eventQueue<number>(2)
  queue.push(1)
  queue.end(new NsmError('UNAVAILABLE', 'stopping'))
  queue.push(2)
  const events = queue.drain(new AbortController().signal)
  t.equal((await events.next()).value, 1)
  await t.rejects(events.next(), { code: 'UNAVAILABLE' })
})
