import type { ConnectionMonitor, NetworkService } from '../chain.ts'
import type { Ctx } from '../ctx.ts'
import type { Peer } from '../peer.ts'
import type { NetworkServiceEndpointRegistry, NetworkServiceRegistry } from '../registry-chain.ts'

/** One authenticated session to one URL, with all services that a peer may serve. */
export interface Remote extends NetworkService, ConnectionMonitor {
  readonly url: string
  readonly peer: Peer
  readonly networkServices: NetworkServiceRegistry
  readonly networkServiceEndpoints: NetworkServiceEndpointRegistry
  /** Aborts when the session has ended, for any reason. */
  readonly closed: AbortSignal
  /** Gives the session back; it ends when nobody uses it any more. */
  release(): void
}

/**
 * Opens, or shares, a session to `unix:///path` or `tcp://host:port`.
 * Rejects with UNAVAILABLE when TCP, TLS or HTTP/2 are not up within the dial time-out (§4.1), UNAUTHENTICATED when the peer's SVID is refused.
 */
export type Dial = (ctx: Ctx, url: string) => Promise<Remote>
