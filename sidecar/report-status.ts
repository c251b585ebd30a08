import { connectionOf, type Element } from '@nsm/sdk/chain.js'
import { valueOf } from '@nsm/sdk/ctx.js'
import { reselecting } from '@nsm/sdk/elements/begin.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import type { StatusBoard } from './status-board.ts'

/**
 * Tells the board what becomes of each Request and Close of the client's chain, those of refresh and heal among them.
 * Failures of a connection that was never up are left to whoever asked for it.
 */
export function reportStatus(board: StatusBoard): Element {
  const established = new Set<string>()

  return {
    name: 'report status',

    async request(ctx, req, next) {
      const { id } = connectionOf(req)
      const began = performance.now()
      try {
        const connection = await next.request(ctx, req)
        established.add(id)
        board.apply({ type: 'established', id, connection, ms: performance.now() - began })
        return connection
      } catch (reason) {
        const { code, message } = NsmError.from(reason)
        if (established.has(id) && code !== 'CANCELLED') board.apply({ type: 'failed', id, error: message })
        throw reason
      }
    },

    async close(ctx, conn, next) {
      try {
        await next.close(ctx, conn)
      } finally {
        if (valueOf(ctx, reselecting) === undefined) {
          established.delete(conn.id)
          board.apply({ type: 'closed', id: conn.id })
        }
      }
    },
  }
}

/** Tells connections that are being healed why the manager cannot be reached: their Requests do not get as far as the chain's elements. */
export function tellingDial(dial: Dial, board: StatusBoard): Dial {
  return async (ctx, url) => {
    try {
      return await dial(ctx, url)
    } catch (reason) {
      const { code, message } = NsmError.from(reason)
      const healing = board.read().connections.filter(({ state }) => state === 'HEALING')
      if (code !== 'CANCELLED')
        for (const { id } of healing) board.apply({ type: 'failed', id, error: message })
      throw reason
    }
  }
}
