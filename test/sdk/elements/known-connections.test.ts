import { Connection, ConnectionEventType, type MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { knownConnections } from '@nsm/sdk/elements/known-connections.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import t from 'tap'
import { within } from '../../kit/mesh.ts'

const pathOf = (index: number, ...ids: string[]): Connection['path'] => ({
  index,
  pathSegments: ids.map((id) => ({ name: id, id, token: '', expires: undefined, metrics: {} })),
})

/** A next hop whose monitor tells these, then says no more. */
function telling(
  connections: readonly Connection[],
  asked: (selector: MonitorScopeSelector) => void,
): { remote: Remote; wasLeft: () => boolean } {
  let left = false
  const remote = {
    async *monitor(_: unknown, selector: MonitorScopeSelector) {
      asked(selector)
      try {
        yield {
          type: ConnectionEventType.INITIAL_STATE_TRANSFER,
          connections: Object.fromEntries(connections.map((conn) => [conn.id, conn])),
        }
        yield { type: ConnectionEventType.UPDATE, connections: {} }
      } finally {
        left = true
      }
    },
  } as unknown as Remote
  return { remote, wasLeft: () => left }
}

t.test('the first event, turned to the own side', async (t) => {
  const theirs = Connection.fromPartial({ id: 'n', networkService: 'db', path: pathOf(2, 'a', 'own', 'n') })
  const selectors: MonitorScopeSelector[] = []
  const { remote, wasLeft } = telling([theirs], (selector) => selectors.push(selector))
  t.match(await knownConnections(within(), remote, 'own'), [
    {
      id: 'own',
      networkService: 'db',
      path: { index: 1, pathSegments: [{ id: 'a' }, { id: 'own' }, { id: 'n' }] },
    },
  ])
  t.match(selectors, [{ pathSegments: [{ id: 'own' }] }])
  t.ok(wasLeft(), 'the monitor does not stay open')
})

t.test('what has the own segment elsewhere, or no path, is not ours', async (t) => {
  const others = [
    Connection.fromPartial({ id: 'x', path: pathOf(2, 'own', 'a', 'x') }),
    Connection.fromPartial({ id: 'y', path: pathOf(0, 'y') }),
    Connection.fromPartial({ id: 'z' }),
  ]
  t.same(await knownConnections(within(), telling(others, () => undefined).remote, 'own'), [])
})

t.test('a monitor that ends at once tells nothing, one that fails rejects', async (t) => {
  const silent = { async *monitor() {} } as unknown as Remote
  t.same(await knownConnections(within(), silent, 'own'), [])
  const broken = {
    // oxlint-disable-next-line require-yield -- it fails before its first event
    async *monitor() {
      throw new Error('gone')
    },
  } as unknown as Remote
  await t.rejects(knownConnections(within(), broken, 'own'), { message: 'gone' })
})
