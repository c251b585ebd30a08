import type { Policy, TokenPath } from './policy.ts'

/** Each token was made for the one whose token comes next (§3.6 common/tokens_chained). */
export const tokensChained: Policy<Pick<TokenPath, 'tokens'>> = ({ tokens }) => {
  const torn = tokens.findIndex(({ claims }, i) => {
    const next = tokens[i + 1]
    if (next === undefined) return false
    const subject = next.claims?.sub
    return subject === undefined || claims?.aud.includes(subject) !== true
  })
  return torn < 0 ? undefined : `token of path segment ${torn} was not made for segment ${torn + 1}`
}
