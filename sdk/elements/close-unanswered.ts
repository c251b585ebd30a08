import { MonitorScopeSelector, type Connection } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'
import { valueOf, withCancel, type Ctx } from '../ctx.ts'
import { NsmError, type Code } from '../errors.ts'
import type { Dial, Remote } from '../transport/remote.ts'
import { undoIfNew } from './begin.ts'
import { clientUrl } from './client-url.ts'

/** Codes that this end makes up itself: the next hop may have done what it was asked to. */
const unanswered: ReadonlySet<Code> = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'])

/**
 * Closes at the next hop what a new connection's Request has brought about there although its answer never came: the caller gave up,
 * or the session broke, just then. The next hop is asked by its monitor for the connection, since only it knows its path.
 */
export function closeUnanswered(open: Dial): Element {
  return {
    name: 'close unanswered',

    async request(ctx, req, next) {
      try {
        return await next.request(ctx, req)
      } catch (err) {
        const url = valueOf(ctx, clientUrl)
        if (url !== undefined && unanswered.has(NsmError.from(err).code)) {
          const { id } = connectionOf(req)
          valueOf(ctx, undoIfNew)?.((undoCtx) => closeAt(open, undoCtx, url, id))
        }
        throw err
      }
    },
  }
}

async function closeAt(open: Dial, ctx: Ctx, url: string, id: string): Promise<void> {
  const remote = await open(ctx, url)
  try {
    for (const conn of await connectionsOf(ctx, remote, id)) await remote.close(ctx, conn)
  } finally {
    remote.release()
  }
}

/** The next hop's connections of our segment `id`, as our side sees them. */
async function connectionsOf(ctx: Ctx, remote: Remote, id: string): Promise<Connection[]> {
  const selector = MonitorScopeSelector.fromPartial({ pathSegments: [{ id }] })
  return withCancel(ctx, async (inner, cancel) => {
    try {
      for await (const { connections } of remote.monitor(inner, selector)) {
        return Object.values(connections).flatMap((conn) => ownSide(conn, id) ?? [])
      }
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
