import type { Policy, TokenPath } from './policy.ts'

/** Every token of the path is a JWT (§3.6 common/tokens_valid). */
export const tokensValid: Policy<Pick<TokenPath, 'tokens'>> = ({ tokens }) => {
  const broken = tokens.findIndex(({ claims }) => claims === undefined)
  return broken < 0 ? undefined : `token of path segment ${broken} is not a token`
}
