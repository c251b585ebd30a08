import { key, type Key } from '../ctx.ts'
import type { Peer } from '../peer.ts'

/**
 * What of one gRPC call is neither message nor peer. The server adapter puts one into the context of each incoming call;
 * a client element puts one before the remote call to send headers and to learn who answered.
 */
export interface Call {
  /** Request metadata, lower-case keys: received on a server, to be sent on a client. */
  readonly requestHeaders: Map<string, string>
  /** Initial response metadata: to be sent on a server, received on a client. */
  readonly responseHeaders: Map<string, string>
  /** Set by the remote call on a client: the session that answered. */
  answeredBy?: Peer
}

/** The call that is being served. */
export const incomingCall: Key<Call> = key('incoming call')
/** The call that is about to be made. */
export const outgoingCall: Key<Call> = key('outgoing call')

/** Metadata names of the token that accompanies every call (§3.3) and of the registry path (§3.4). */
export const tokenHeader = 'nsm-client-token'
export const tokenExpiresHeader = 'nsm-client-token-expires'
export const pathHeader = 'path'
/** Ours: a server that answers with it closes received descriptors after each call, so that its session can be shared. */
export const keepsNoDescriptorsHeader = 'nsm-keeps-no-descriptors'

export function newCall(): Call {
  return { requestHeaders: new Map(), responseHeaders: new Map() }
}
