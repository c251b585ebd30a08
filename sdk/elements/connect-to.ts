import { connectionOf, type Element, type NetworkService } from '../chain.ts'
import { detached } from '../ctx.ts'

/** Joins a client to a server's chain: asks the client first, then the rest of the chain with the client's answer. */
export function connectTo(client: NetworkService): Element {
  const established = new Set<string>()

  return {
    name: 'connect to',

    async request(ctx, req, next) {
      const { id } = connectionOf(req)
      const connection = await client.request(ctx, req)
      try {
        const answer = await next.request(ctx, { ...req, connection })
        established.add(id)
        return answer
      } catch (err) {
        if (!established.has(id)) {
          await client.close(detached(ctx), connection).catch((cause: unknown) => {
            ctx.log.warn({ connection_id: id, err: String(cause) }, 'close after a failed request failed')
          })
        }
        throw err
      }
    },

    async close(ctx, conn, next) {
      established.delete(conn.id)
      try {
        await client.close(ctx, conn)
      } finally {
        await next.close(ctx, conn)
      }
    },
  }
}
