import { MonitorScopeSelector, State, type Connection } from '@nsm/api/gen/connection.js'
import { withCancel, type Ctx } from '@nsm/sdk/ctx.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import type { Wish } from './status-board.ts'

/**
 * What the manager still has of a connection from before this process' restart, as the own side sees it (§4.6);
 * undefined when there is nothing that can be gone on with. Rejects when the manager does not tell.
 */
export async function resumable(ctx: Ctx, remote: Remote, wish: Wish): Promise<Connection | undefined> {
  const selector = MonitorScopeSelector.fromPartial({ pathSegments: [{ id: wish.id }] })
  return withCancel(ctx, async (inner, cancel) => {
    try {
      for await (const { connections } of remote.monitor(inner, selector)) {
        const own = Object.values(connections).filter((conn) => isOwn(conn, wish))
        const best = own.find(({ state }) => state !== State.DOWN) ?? own[0]
        return best && ownSide(best, wish.id)
      }
      return undefined
    } finally {
      cancel(undefined)
    }
  })
}

/** The same connection with whatever endpoint will do: for one whose packets do not pass any more. */
export function reselected(conn: Connection): Connection {
  return { ...conn, mechanism: undefined, networkServiceEndpointName: '', state: State.RESELECT_REQUESTED }
}

function isOwn({ path, networkService, mechanism }: Connection, wish: Wish): boolean {
  return (
    path?.index === 1 &&
    path.pathSegments[0]?.id === wish.id &&
    networkService === wish.networkService &&
    mechanism?.type === 'KERNEL'
  )
}

function ownSide(conn: Connection, id: string): Connection {
  return { ...conn, id, path: { index: 0, pathSegments: conn.path?.pathSegments ?? [] } }
}
