import type { Policy, TokenPath } from './policy.ts'

/** The token before the own one is about the caller: its signature alone would let any caller name somebody else. */
export const prevTokenNamesPeer: Policy<Pick<TokenPath, 'tokens' | 'index' | 'peerId'>> = (path) => {
  const subject = path.tokens[path.index - 1]?.claims?.sub
  return subject === path.peerId
    ? undefined
    : `token of the previous path segment is of ${subject?.slice(0, 200)}, not of the caller`
}
