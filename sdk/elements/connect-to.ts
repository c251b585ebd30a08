import type { Element, NetworkService } from '../chain.ts'
import { valueOf } from '../ctx.ts'
import { undoIfNew } from './begin.ts'

/**
 * Joins a client to a server's chain: asks the client first, then the rest of the chain with the client's answer.
 * Needs `begin` of the server half before it, which has the client close a new connection that fails later.
 */
export function connectTo(client: NetworkService): Element {
  return {
    name: 'connect to',

    async request(ctx, req, next) {
      const connection = await client.request(ctx, req)
      valueOf(ctx, undoIfNew)?.((undoCtx) => client.close(undoCtx, connection))
      return next.request(ctx, { ...req, connection })
    },

    async close(ctx, conn, next) {
      try {
        await client.close(ctx, conn)
      } finally {
        await next.close(ctx, conn)
      }
    },
  }
}
