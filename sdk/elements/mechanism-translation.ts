import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'

/**
 * Keeps the mechanisms of the two sides of a hop apart (wire contract §2.1): the caller's preferences and mechanism go no
 * further, the next hop gets the one it chose before, and the answer has the caller's again.
 */
export function mechanismTranslation(): Element {
  const chosen = new Map<string, Mechanism>()
  const outgoing = (conn: Connection): Connection => ({ ...conn, mechanism: chosen.get(conn.id) })

  return {
    name: 'mechanism translation',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const answer = await next.request(ctx, { ...req, mechanismPreferences: [], connection: outgoing(conn) })
      if (answer.mechanism === undefined) chosen.delete(conn.id)
      else chosen.set(conn.id, answer.mechanism)
      return { ...answer, mechanism: conn.mechanism }
    },

    async close(ctx, conn, next) {
      try {
        await next.close(ctx, outgoing(conn))
      } finally {
        chosen.delete(conn.id)
      }
    },
  }
}
