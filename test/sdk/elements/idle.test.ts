import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { idle } from '@nsm/sdk/elements/idle.js'
import t from 'tap'
import { handClock } from '../../kit/clock.js'
import { refusing } from '../../kit/elements.js'

const ask = (id: string): NetworkServiceRequest => NetworkServiceRequest.fromPartial({ connection: { id } })

t.test('idle from the start on, once', (t) => {
  const clock = handClock()
  let calls = 0
  idle(1000, clock, () => calls++)
  clock.advance(999)
  t.equal(calls, 0)
  clock.advance(5000)
  t.equal(calls, 1)
  t.end()
})

t.test('not while there is a connection, and again after the last is closed', async (t) => {
  const clock = handClock()
  let calls = 0
  const service = chain([idle(1000, clock, () => calls++).element])
  const conn = await service.request(background(), ask('a'))
  await service.request(background(), ask('b'))
  await service.close(background(), { ...conn, id: 'b' })
  clock.advance(10_000)
  t.equal(calls, 0)
  await service.close(background(), conn)
  clock.advance(999)
  t.equal(calls, 0)
  clock.advance(1)
  t.equal(calls, 1)
})

t.test('a refused connection is none, and a close that fails counts', async (t) => {
  const clock = handClock()
  let calls = 0
  const { state, element } = refusing()
  const service = chain([idle(1000, clock, () => calls++).element, element])
  await t.rejects(service.request(background(), ask('a')))
  clock.advance(1000)
  t.equal(calls, 1)
  state.on = false
  const conn = await service.request(background(), ask('a'))
  state.on = true
  await t.rejects(service.close(background(), conn))
  clock.advance(1000)
  t.equal(calls, 2)
})

t.test('never when off or stopped', (t) => {
  const clock = handClock()
  idle(0, clock, () => t.fail('idle'))
  idle(10, clock, () => t.fail('idle')).stop()
  clock.advance(1e9)
  t.equal(clock.pending, 0)
  t.end()
})
