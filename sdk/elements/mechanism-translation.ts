import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'
import { key, type Ctx, type Key } from '../ctx.ts'
import { metadataOf } from './metadata.ts'

const chosen: Key<Mechanism> = key('mechanism of the next hop')

/**
 * Keeps the mechanisms of the two sides of a hop apart (wire contract §2.1): the caller's preferences and mechanism go no
 * further, the next hop gets the one it chose before, and the answer has the caller's again. Needs `metadata` of the client half.
 */
export function mechanismTranslation(): Element {
  const outgoing = (ctx: Ctx, conn: Connection): Connection => ({
    ...conn,
    mechanism: metadataOf(ctx, 'client').get(chosen),
  })

  return {
    name: 'mechanism translation',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const connection = outgoing(ctx, conn)
      const answer = await next.request(ctx, { ...req, mechanismPreferences: [], connection })
      const store = metadataOf(ctx, 'client')
      if (answer.mechanism === undefined) store.delete(chosen)
      else store.set(chosen, answer.mechanism)
      return { ...answer, mechanism: conn.mechanism }
    },

    close: (ctx, conn, next) => next.close(ctx, outgoing(ctx, conn)),
  }
}
