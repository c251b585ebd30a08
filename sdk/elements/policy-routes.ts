import type { PolicyRoute } from '@nsm/api/gen/connectioncontext.js'
import { connectionOf, type Element } from '../chain.ts'
import { ipContextOf, withContext } from '../connection-context.ts'

/** Hands out policy routes to clients (wire contract §6.2), in place of those that came; asked for anew each time. */
export function policyRoutes(policies: () => readonly PolicyRoute[]): Element {
  return {
    name: 'policy routes',
    request(ctx, req, next) {
      const conn = connectionOf(req)
      const ipContext = { ...ipContextOf(conn), policies: [...policies()] }
      return next.request(ctx, { ...req, connection: withContext(conn, { ipContext }) })
    },
  }
}
