import { connectionOf, type Element } from '@nsm/sdk/chain.js'
import { NsmError } from '@nsm/sdk/errors.js'

/** Serves at most `most` connections at a time; a client that is refused tries the next endpoint of the service. */
export function quota(most: number): Element {
  const held = new Set<string>()

  return {
    name: 'quota',

    async request(ctx, req, next) {
      const { id } = connectionOf(req)
      // The same connection comes again with each refresh.
      const isNew = !held.has(id)
      if (isNew && held.size >= most)
        throw new NsmError('RESOURCE_EXHAUSTED', `all ${most} places of this endpoint are taken`)
      held.add(id)
      try {
        return await next.request(ctx, req)
      } catch (err) {
        if (isNew) held.delete(id)
        throw err
      }
    },

    async close(ctx, conn, next) {
      held.delete(conn.id)
      await next.close(ctx, conn)
    },
  }
}
