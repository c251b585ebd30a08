import { MonitorScopeSelector, type Connection } from '@nsm/api/gen/connection.js'
import { withCancel, type Ctx } from '../ctx.ts'
import type { Remote } from '../transport/remote.ts'

/**
 * What the next hop knows of our path segment `id`, as our side sees it: the first event of its monitor, which is the whole state
 * (wire contract §4.4). Rejects when it does not tell.
 */
export async function knownConnections(ctx: Ctx, remote: Remote, id: string): Promise<readonly Connection[]> {
  const selector = MonitorScopeSelector.fromPartial({ pathSegments: [{ id }] })
  return withCancel(ctx, async (inner, cancel) => {
    try {
      for await (const { connections } of remote.monitor(inner, selector))
        return Object.values(connections).flatMap((conn) => ownSide(conn, id) ?? [])
      return []
    } finally {
      cancel(undefined)
    }
  })
}

function ownSide(conn: Connection, id: string): Connection | undefined {
  const { path } = conn
  if (path === undefined || path.pathSegments[path.index - 1]?.id !== id) return undefined
  return { ...conn, id, path: { ...path, index: path.index - 1 } }
}
