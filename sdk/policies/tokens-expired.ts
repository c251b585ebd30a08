import type { Policy, TokenPath } from './policy.ts'

/** Every token of the path lives (§3.6 common/tokens_expired). A token without expiry never lived. */
export const tokensExpired: Policy<Pick<TokenPath, 'tokens' | 'nowMs'>> = ({ tokens, nowMs }) => {
  const dead = tokens.findIndex(({ claims }) => (claims?.exp ?? 0) * 1000 <= nowMs)
  return dead < 0 ? undefined : `token of path segment ${dead} has expired`
}
