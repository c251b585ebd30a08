import type { Peer } from '@nsm/sdk/peer.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'

/** The node's manager, known by whoever answers at its address. */
export interface KnownManager {
  /** To be used instead of the dial that it was made of: learns from each session to the manager. */
  readonly dial: Dial
  /** Nobody is before the first session. */
  is(caller: Pick<Peer, 'spiffeId'>): boolean
}

/** `url`: where the node's manager listens, and no pod can. */
export function knownManager(dial: Dial, url: string): KnownManager {
  let spiffeId: string | undefined
  return {
    async dial(ctx, to) {
      const remote = await dial(ctx, to)
      if (to === url) spiffeId = remote.peer.spiffeId
      return remote
    },
    is: (caller) => caller.spiffeId === spiffeId,
  }
}
