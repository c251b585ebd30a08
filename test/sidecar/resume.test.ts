import { Connection, ConnectionEventType, State } from '@nsm/api/gen/connection.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import { resumable } from '@nsm/sidecar/resume.js'
import t from 'tap'
import { within } from '../kit/mesh.ts'

const wish = { id: 'pod-0', networkService: 'web', labels: {} }
const connOf = (id: string, more: Partial<Connection> = {}): Connection =>
  Connection.fromPartial({
    id,
    networkService: 'web',
    mechanism: { cls: 'LOCAL', type: 'KERNEL' },
    path: {
      index: 1,
      pathSegments: [
        { name: 'pod', id: 'pod-0' },
        { name: 'nsmgr', id },
      ],
    },
    ...more,
  })

/** The path's second id of what is resumed. */
async function resumed(...all: readonly Connection[]): Promise<string | undefined> {
  const remote = {
    async *monitor() {
      const connections = Object.fromEntries(all.map((conn) => [conn.id, conn]))
      yield { type: ConnectionEventType.INITIAL_STATE_TRANSFER, connections }
    },
  } as unknown as Remote
  const conn = await resumable(within(), remote, wish)
  if (conn !== undefined) t.match(conn, { id: 'pod-0', path: { index: 0 } }, 'as the own side sees it')
  return conn?.path?.pathSegments[1]?.id
}

t.test('gone on with is what the manager has under the own id, best what is up', async (t) => {
  t.equal(await resumed(), undefined)
  t.equal(await resumed(connOf('a')), 'a')
  t.equal(await resumed(connOf('a', { state: State.DOWN }), connOf('b')), 'b')
  t.equal(await resumed(connOf('a', { state: State.DOWN })), 'a', 'DOWN is better than nothing')
})

t.test('another service, mechanism or place on the path is another connection', async (t) => {
  const path = { index: 0, pathSegments: connOf('a').path?.pathSegments ?? [] }
  const others = [
    connOf('a', { networkService: 'db' }),
    connOf('b', { mechanism: { cls: 'LOCAL', type: 'MEMIF', parameters: {} } }),
    connOf('c', { path }),
    connOf('d', { path: { index: 1, pathSegments: path.pathSegments.toReversed() } }),
  ]
  t.equal(await resumed(...others), undefined)
})
