import { signedBy } from './signed-by.ts'
import type { Policy, TokenPath } from './policy.ts'

/** The caller signed the token before the own one with the key of its session (§3.6 server/prev_token_signed). */
export const prevTokenSigned: Policy<Pick<TokenPath, 'tokens' | 'index' | 'peerKey'>> = (path) =>
  signedBy(path.tokens[path.index - 1], path.peerKey)
    ? undefined
    : 'token of the previous path segment is not signed by the caller'
