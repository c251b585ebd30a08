import { eventRecorder, type RecordedEvent } from '@nsm/kubernetes/events.js'
import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { silent } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { serverAndClient } from '../kit/api-client.ts'
import { status } from '../kit/api-server.ts'
import { handClock } from '../kit/clock.ts'
import { fastClock } from '../kit/fast-clock.ts'
import { until } from '../kit/until.ts'

const collection = '/api/v1/events'

const connected = (name: string, message = 'connected to db by nsm-1'): RecordedEvent => ({
  regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'n', name, uid: `uid-${name}` },
  type: 'Normal',
  reason: 'NetworkServiceConnected',
  message,
})

const setup = async (t: Test, clock: Clock = systemClock) => {
  const both = await serverAndClient(t)
  const warnings: unknown[] = []
  const recorder = eventRecorder({
    client: both.client,
    component: 'nsm-agent',
    instance: 'node-1',
    log: { ...silent, warn: (fields) => void warnings.push(fields) },
    clock,
  })
  t.teardown(() => recorder.close())
  return { ...both, recorder, warnings }
}

t.test('an event as kubectl shows it', async (t) => {
  const { server, recorder } = await setup(t)
  recorder.record(connected('a'))
  await until('it is there', () => server.store.list(collection).length === 1)
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/
  t.match(server.store.list(collection)[0], {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { namespace: 'n', name: /^a\.[0-9a-f]{16}$/ },
    involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace: 'n', name: 'a', uid: 'uid-a' },
    type: 'Normal',
    reason: 'NetworkServiceConnected',
    message: 'connected to db by nsm-1',
    source: { component: 'nsm-agent', host: 'node-1' },
    reportingComponent: 'nsm-agent',
    reportingInstance: 'node-1',
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  })
})

t.test('what happens again is counted; what differs is another event', async (t) => {
  const { server, recorder } = await setup(t)
  recorder.record(connected('a'))
  await until('it is there', () => server.store.list(collection).length === 1)
  recorder.record(connected('a'))
  recorder.record(connected('b'))
  recorder.record(connected('a', 'connected to web by nsm-2'))
  await until('they are there', () => server.store.list(collection).length === 3)
  const first = server.store.list(collection).find(({ count }) => count === 2)
  t.match(first, { involvedObject: { name: 'a' }, message: /db/ })
  const patch = server.calls.find(({ method }) => method === 'PATCH')
  t.same(Object.keys(patch?.body ?? {}), ['count', 'lastTimestamp'])
})

t.test('many of the same before the first is written are one', async (t) => {
  const { server, recorder } = await setup(t)
  for (let n = 0; n < 50; n += 1) recorder.record(connected('a'))
  await recorder.close()
  t.match(server.store.list(collection), [{ count: 50 }])
  t.equal(recorder.dropped, 0)
})

t.test('one that the server has forgotten is made again', async (t) => {
  const { server, recorder } = await setup(t)
  recorder.record(connected('a'))
  await until('it is there', () => server.store.list(collection).length === 1)
  server.store.remove(collection, 'n', server.store.list(collection)[0]?.metadata.name ?? '')
  recorder.record(connected('a'))
  await until('it is there again', () => server.store.list(collection).length === 1)
  t.match(server.store.list(collection), [{ count: 2 }])
})

t.test('an object of the cluster; a long message; halved characters', async (t) => {
  const { server, recorder } = await setup(t)
  const regarding = { apiVersion: 'v1', kind: 'Node', name: 'n'.repeat(253) }
  recorder.record({ regarding, type: 'Warning', reason: 'R', message: 'ä'.repeat(2000) })
  await until('it is there', () => server.store.list(collection).length === 1)
  const [event] = server.store.list(collection)
  t.equal(event?.metadata.namespace, 'default')
  t.ok((event?.metadata.name?.length ?? 999) <= 253)
  t.match(event?.['message'], /^ä+…$/)
  t.ok(Buffer.byteLength(String(event?.['message'])) <= 1024)
})

t.test('a server that is away for a while; one that refuses', async (t) => {
  const { server, recorder, warnings } = await setup(t, fastClock(100))
  await server.stop()
  recorder.record(connected('a'))
  await new Promise((resolve) => setTimeout(resolve, 5))
  await server.start()
  await until('it is there', () => server.store.list(collection).length === 1)
  server.intercept = (_, res) => {
    status(res, 403, 'Forbidden', 'events is forbidden')
    return true
  }
  const before = server.calls.length
  recorder.record(connected('b'))
  await until('it is given up', () => recorder.dropped === 1)
  t.equal(server.calls.length, before + 1, 'no second try')
  t.match(warnings.at(-1), { code: 'PERMISSION_DENIED', reason: 'NetworkServiceConnected' })
})

t.test('what happens while the server is away for five minutes is told when it is back', async (t) => {
  const clock = handClock()
  const { server, recorder } = await setup(t, clock)
  const began = clock.now()
  server.intercept = (_, res) => {
    status(res, 503, 'ServiceUnavailable', 'not ready')
    return true
  }
  const tries = () => server.calls.length
  recorder.record(connected('a'))
  while (clock.now() - began < 300_000) {
    const before = tries()
    await until('it waits for the next try', () => tries() > 0 && clock.pending > 0)
    recorder.record(connected('b'))
    while (tries() === before && clock.pending > 0) {
      clock.advance(500)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until('it has tried again', () => tries() > before)
  }
  t.ok(tries() < 80, `${tries()} tries: fewer the longer it lasts`)
  server.intercept = undefined
  await until('both are there', () => {
    clock.advance(1_000)
    return server.store.list(collection).length === 2
  })
  t.equal(recorder.dropped, 0)
  const b = server.store.list(collection).find(({ metadata }) => metadata.name?.startsWith('b.'))
  t.ok(Number(b?.['count']) > 10, 'counted meanwhile')
})

t.test('what the server would have forgotten is not tried any more', async (t) => {
  const clock = handClock()
  const { server, recorder, warnings } = await setup(t, clock)
  server.intercept = (_, res) => {
    status(res, 500, 'InternalError', 'failed calling webhook')
    return true
  }
  recorder.record(connected('a'))
  await until('it is given up', () => {
    clock.advance(60_000)
    return recorder.dropped === 1
  })
  t.match(warnings.at(-1), { code: 'UNAVAILABLE', err: /failed calling webhook/ })
})

t.test('one that the server cannot take does not hold the others up', async (t) => {
  const { server, recorder } = await setup(t, fastClock(100))
  server.intercept = ({ body }, res) => {
    if (!JSON.stringify(body).includes('uid-a')) return false
    status(res, 500, 'InternalError', 'failed calling webhook')
    return true
  }
  recorder.record(connected('a'))
  recorder.record(connected('b'))
  await until('the other is there', () => server.store.list(collection).length === 1)
  t.equal(recorder.dropped, 0)
})

t.test('a flood: a bounded rate, a bounded queue', async (t) => {
  const { server, recorder } = await setup(t)
  for (let n = 0; n < 1000; n += 1) recorder.record(connected(`p${n}`))
  t.ok(recorder.dropped >= 700 && recorder.dropped < 1000, `${recorder.dropped} dropped`)
  await recorder.close()
  const written = server.store.list(collection).length
  t.ok(written >= 20 && written < 40, `${written} written`)
  recorder.record(connected('late'))
  t.equal(server.store.list(collection).length, written)
})

t.test('closing does not wait for a server that is away', async (t) => {
  const { server, recorder } = await setup(t, fastClock(100))
  server.intercept = () => true
  recorder.record(connected('a'))
  await until('it is asked', () => server.calls.length > 0)
  await recorder.close()
  t.equal(server.store.list(collection).length, 0)
})
