import type { Peer } from './peer.ts'

/** A token for one peer (wire contract §3.3). */
export interface Token {
  /** JWS compact, ES256. */
  readonly token: string
  readonly expires: Date
}

/** Makes the token that this process shows to `peer`; signed with the key of the session's own SVID. */
export type TokenGenerator = (peer: Peer) => Token
