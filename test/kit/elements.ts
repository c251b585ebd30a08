import type { Connection } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '@nsm/sdk/chain.js'
import { NsmError } from '@nsm/sdk/errors.js'

/** An element that refuses every request with UNAVAILABLE while `state.on`, and counts. */
export function refusing(): { state: { on: boolean; requests: number; closes: number }; element: Element } {
  const state = { on: true, requests: 0, closes: 0 }
  return {
    state,
    element: {
      name: 'refusing',
      async request(ctx, req, next) {
        state.requests++
        if (state.on) throw new NsmError('UNAVAILABLE', 'refused by the test')
        return next.request(ctx, req)
      },
      async close(ctx, conn, next) {
        state.closes++
        if (state.on) throw new NsmError('UNAVAILABLE', 'refused by the test')
        return next.close(ctx, conn)
      },
    },
  }
}

/** An element that keeps what it saw on the way in. */
export function recording(): { requests: Connection[]; closes: Connection[]; element: Element } {
  const requests: Connection[] = []
  const closes: Connection[] = []
  return {
    requests,
    closes,
    element: {
      name: 'recording',
      request(ctx, req, next) {
        requests.push(connectionOf(req))
        return next.request(ctx, req)
      },
      close(ctx, conn, next) {
        closes.push(conn)
        return next.close(ctx, conn)
      },
    },
  }
}
