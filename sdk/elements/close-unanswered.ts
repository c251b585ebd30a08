import { connectionOf, type Element } from '../chain.ts'
import { valueOf, type Ctx } from '../ctx.ts'
import { NsmError, type Code } from '../errors.ts'
import type { Dial } from '../transport/remote.ts'
import { undoIfNew } from './begin.ts'
import { clientUrl } from './client-url.ts'
import { knownConnections } from './known-connections.ts'

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
    for (const conn of await knownConnections(ctx, remote, id)) await remote.close(ctx, conn)
  } finally {
    remote.release()
  }
}
