import type { Element } from '../chain.ts'
import { key, withValue, type Key } from '../ctx.ts'

/** Tells whether the call went on to another process; `connect` notes it. */
export const furtherCall: Key<{ made: boolean }> = key('further call')

/** Takes the tail of an earlier, longer path off the answer when nobody further was asked (§3.1). */
export function trimPath(): Element {
  return {
    name: 'trimpath',

    async request(ctx, req, next) {
      const further = { made: false }
      const conn = await next.request(withValue(ctx, furtherCall, further), req)
      const { path } = conn
      if (further.made || path === undefined || path.pathSegments.length <= path.index + 1) return conn
      return { ...conn, path: { ...path, pathSegments: path.pathSegments.slice(0, path.index + 1) } }
    },
  }
}
