import type { Element } from '../chain.ts'
import { valueOf } from '../ctx.ts'
import { remoteOfCall } from './dial.ts'
import { furtherCall } from './trim-path.ts'

/** The end of a client's chain: the call itself, over the session that `dial` got. */
export function connect(): Element {
  return {
    name: 'connect',

    async request(ctx, req) {
      const further = valueOf(ctx, furtherCall)
      if (further !== undefined) further.made = true
      return remoteOfCall(ctx).request(ctx, req)
    },

    close: (ctx, conn) => remoteOfCall(ctx).close(ctx, conn),
  }
}
