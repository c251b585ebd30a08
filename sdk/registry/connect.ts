import type { Registry } from '../registry-chain.ts'
import type { Remote } from '../transport/remote.ts'
import { remoteOfCall } from './dial.ts'

/** The end of a client's chain: the call itself, to one of the two registries of the session that `dial` got. */
export function connect<Item, Query, Response>(
  api: (remote: Remote) => Registry<Item, Query, Response>,
): Registry<Item, Query, Response> {
  return {
    register: async (ctx, item) => api(remoteOfCall(ctx)).register(ctx, item),
    find: (ctx, query) => api(remoteOfCall(ctx)).find(ctx, query),
    unregister: async (ctx, item) => api(remoteOfCall(ctx)).unregister(ctx, item),
  }
}
