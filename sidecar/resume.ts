import { State, type Connection } from '@nsm/api/gen/connection.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { knownConnections } from '@nsm/sdk/elements/known-connections.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import type { Wish } from './status-board.ts'

/**
 * What the manager still has of a connection from before this process' restart, as the own side sees it (§4.6);
 * undefined when there is nothing that can be gone on with. Rejects when the manager does not tell.
 */
export async function resumable(ctx: Ctx, remote: Remote, wish: Wish): Promise<Connection | undefined> {
  const known = await knownConnections(ctx, remote, wish.id)
  const own = known.filter((conn) => isWish(conn, wish))
  return own.find(({ state }) => state !== State.DOWN) ?? own[0]
}

/** The same connection with whatever endpoint will do: for one whose packets do not pass any more. */
export function reselected(conn: Connection): Connection {
  return { ...conn, mechanism: undefined, networkServiceEndpointName: '', state: State.RESELECT_REQUESTED }
}

function isWish({ path, networkService, mechanism }: Connection, wish: Wish): boolean {
  return path?.index === 0 && networkService === wish.networkService && mechanism?.type === 'KERNEL'
}
