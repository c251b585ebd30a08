import { nodePod, type NodePod } from '@nsm/agent/node-pods.js'
import { conditionWriter, connectedOf, type ConditionWriterOptions } from '@nsm/agent/status/pod-condition.js'
import type { SidecarConnection } from '@nsm/agent/status/sidecar-status.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { silent } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { handClock, type HandClock } from '../../kit/clock.ts'
import { settled } from '../../kit/settled.ts'

interface Written {
  readonly clock: HandClock
  /** What the connections of the pod are now; `id reason words`, or `id` for one that is up. */
  set(...connections: readonly string[]): Promise<void>
  wait(ms: number): Promise<void>
  /** `status reason message` in the API server, and how often it was written. */
  there(): readonly [string, number]
  /** Another process takes over. */
  restart(): void
  close(): void
}

function written(t: Test): Written {
  const clock = handClock()
  const metadata = { name: 'a', namespace: 'default', uid: 'u' }
  let status: object = {}
  let writes = 0
  const client: ConditionWriterOptions['client'] = {
    async patch<T extends KubernetesObject>(_: string, patch: unknown) {
      writes += 1
      status = (patch as KubernetesObject)['status'] as object
      return { metadata, status } as unknown as T
    },
  }
  const pod = (): NodePod => nodePod({ metadata, status })
  const begin = () => conditionWriter({ client, pod, clock, log: silent })
  let writer = begin()
  t.teardown(() => writer.close())
  return {
    clock,
    async set(...connections) {
      writer.set(connectedOf(connections.map(connectionOf)))
      await settled()
    },
    async wait(ms) {
      clock.advance(ms)
      await settled()
    },
    there() {
      const { connected } = pod()
      return [[connected?.status, connected?.reason, connected?.message].join(' '), writes]
    },
    restart() {
      writer.close()
      writer = begin()
    },
    close: () => writer.close(),
  }
}

function connectionOf(line: string): SidecarConnection {
  const [id = '', reason = '', ...words] = line.split(' ')
  const state = reason === '' ? 'UP' : 'CONNECTING'
  const message = words.join(' ')
  const about = { id, state, reason, message, networkService: `service-${id}`, sinceMs: 0 }
  return { ...about, interface: 'nsm-1', endpoint: '', addresses: [], lastHeal: undefined }
}

t.test('it names the connection that fails now, for whatever reason the one before did', async (t) => {
  const { set, there } = written(t)
  await set('a RequestFailed no endpoint', 'b RequestFailed no endpoint')
  t.same(there(), ['False RequestFailed service-a: no endpoint', 1])
  await set('a', 'b RequestFailed no endpoint')
  t.same(there(), ['False RequestFailed service-b: no endpoint', 2])
  await set('a', 'b')
  t.same(there(), ['True Connected all connections carry packets', 3])
  await set('a', 'b')
  t.same(there()[1], 3)
})

t.test('words that change with each request are written now and then, the newest', async (t) => {
  const { set, wait, there, clock } = written(t)
  await set('a RequestFailed first')
  for (const words of ['second', 'third']) await set(`a RequestFailed ${words}`)
  await wait(29_999)
  t.same(there(), ['False RequestFailed service-a: first', 1])
  await wait(1)
  t.same(there(), ['False RequestFailed service-a: third', 2])
  await set('a RequestFailed fourth')
  await wait(59_999)
  t.same(there()[1], 2, 'later each time')
  await wait(1)
  t.same(there(), ['False RequestFailed service-a: fourth', 3])
  const from = there()[1]
  for (let n = 0; n < 24 * 360; n++) {
    await set(`a RequestFailed ${n}`)
    clock.advance(10_000)
  }
  await settled()
  t.ok(there()[1] - from <= 24 * 6 + 4, 'not more often than each ten minutes in the long run')
  await set('a RequestFailed last')
  await set('a RequestFailed no way', 'b')
  await set('a', 'b RequestFailed no way')
  t.match(there()[0], 'False RequestFailed service-b: no way', 'what is more than words does not wait')
  t.equal(clock.pending, 0)
})

t.test('another process writes only what is not there', async (t) => {
  const { set, restart, there } = written(t)
  await set('a RequestFailed first')
  restart()
  await set('a RequestFailed first')
  t.equal(there()[1], 1)
  await set('a RequestFailed second')
  t.same(there(), ['False RequestFailed service-a: second', 2])
})

t.test('nothing is written after its end', async (t) => {
  const { set, wait, there, clock, close } = written(t)
  await set('a RequestFailed first')
  await set('a RequestFailed second')
  close()
  t.equal(clock.pending, 0)
  await wait(60_000)
  t.equal(there()[1], 1)
})
