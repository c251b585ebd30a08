import { Connection, ConnectionEventType, State, type ConnectionEvent } from '@nsm/api/gen/connection.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { background } from '@nsm/sdk/ctx.js'
import { eventQueue } from '@nsm/sdk/elements/event-queue.js'
import { sessionWatch } from '@nsm/sdk/elements/session-watch.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { settled } from '../../kit/settled.ts'

const connOf = (id: string, index: number, state: State = State.UP): Connection =>
  Connection.fromPartial({
    id: `below-${id}`,
    state,
    path: {
      index,
      pathSegments: [{ name: 'client', id: `c-${id}` }, { name: 'own', id }, { name: 'below' }],
    },
  })

const ownOf = (id: string): Connection => ({ ...connOf(id, 1), id })

/** A next hop whose events the test makes. */
function world() {
  const queue = eventQueue<ConnectionEvent>(100)
  const selectors: unknown[] = []
  const ended = { count: 0, streams: 0 }
  const remote = {
    url: 'mem://below',
    async *monitor(ctx: Ctx, selector: unknown) {
      selectors.push(selector)
      ended.streams++
      try {
        yield* queue.drain(ctx.signal)
      } finally {
        ended.streams--
      }
    },
  } as unknown as Remote
  const heard: string[] = []
  const clock = handClock()
  const listener = (name: string) => ({
    told: ({ id, state, path }: Connection) => void heard.push(`${name} ${id} ${state} ${path?.index}`),
    lost: () => void heard.push(`${name} lost`),
  })
  const watch = sessionWatch(background({ clock }), remote, 'own', () => ended.count++)
  const tell = async (type: ConnectionEvent['type'], conn: Connection): Promise<void> => {
    queue.push({ type, connections: { [conn.id]: conn } })
    await settled()
  }
  return { clock, queue, selectors, ended, heard, listener, watch, tell }
}

t.test('one stream serves all connections, each hears of its own', async (t) => {
  const { ended, selectors, heard, listener, watch, tell } = world()
  watch.add(ownOf('a'), listener('a'))
  watch.add(ownOf('b'), listener('b'))
  await tell(ConnectionEventType.UPDATE, connOf('a', 2))
  await tell(ConnectionEventType.DELETE, connOf('b', 1))
  await tell(ConnectionEventType.UPDATE, connOf('other', 2))
  await tell(ConnectionEventType.UPDATE, connOf('a', 3))
  t.same(heard, [`a a ${State.UP} 1`, `b b ${State.DOWN} 1`])
  t.match(selectors, [
    { pathSegments: [{ name: 'own', id: 'a' }] },
    { pathSegments: [{ name: 'own', id: '' }] },
  ])
  t.same(ended, { count: 0, streams: 1 }, 'the wider one in place of the first')
  watch.stop()
  await settled()
  t.equal(ended.streams, 0)
})

t.test('one connection alone is watched by its id, again and again', async (t) => {
  const { ended, selectors, heard, listener, watch, tell } = world()
  for (const life of ['first', 'second']) {
    const stop = watch.add(ownOf('a'), listener(life))
    await tell(ConnectionEventType.UPDATE, connOf('a', 2))
    stop()
  }
  t.same(heard, [`first a ${State.UP} 1`, `second a ${State.UP} 1`])
  t.match(selectors, [{ pathSegments: [{ name: 'own', id: 'a' }] }])
  t.equal(selectors.length, 1)
  t.same(ended, { count: 0, streams: 1 })
  watch.stop()
})

t.test('ends some time after its last connection, which then hears nothing', async (t) => {
  const { clock, ended, heard, listener, watch } = world()
  const [stopA, stopB] = [watch.add(ownOf('a'), listener('a')), watch.add(ownOf('b'), listener('b'))]
  const again = watch.add(ownOf('a'), listener('a again'))
  stopA()
  stopB()
  await settled()
  t.same(ended, { count: 0, streams: 1 }, 'the newer one is still there')
  again()
  clock.advance(4_999)
  const late = watch.add(ownOf('c'), listener('c'))
  clock.advance(5_000)
  await settled()
  t.same(ended, { count: 0, streams: 1 }, 'one came in time')
  late()
  clock.advance(5_000)
  t.equal(ended.count, 1, 'at once, so that nobody joins a dead stream')
  await settled()
  t.equal(ended.streams, 0)
  t.same(heard, [])
})

t.test('the end of the stream is a loss for all', async (t) => {
  const { queue, ended, heard, listener, watch } = world()
  watch.add(ownOf('a'), listener('a'))
  watch.add(ownOf('b'), listener('b'))
  await settled()
  queue.end(new NsmError('UNAVAILABLE', 'gone'))
  await settled()
  t.same(heard, ['a lost', 'b lost'])
  t.ok(ended.count > 0)
})
