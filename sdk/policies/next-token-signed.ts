import { signedBy } from './signed-by.ts'
import type { Policy, TokenPath } from './policy.ts'

/** The one called signed the token after the own one with the key of its session (§3.6 client/next_token_signed). */
export const nextTokenSigned: Policy<Pick<TokenPath, 'tokens' | 'index' | 'peerKey'>> = (path) =>
  signedBy(path.tokens[path.index + 1], path.peerKey)
    ? undefined
    : 'token of the next path segment is not signed by the one called'
