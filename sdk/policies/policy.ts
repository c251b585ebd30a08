import type { KeyObject } from 'node:crypto'
import { parseToken, type Claims } from '@nsm/spiffe/es256.js'

/** A rule (§3.6). Answers why it refuses, in lower case; undefined = it allows. */
export type Policy<Input> = (input: Input) => string | undefined

/** The tokens of a path, as the policies look at them. */
export interface TokenPath {
  readonly tokens: readonly ReadToken[]
  /** Of the segment that belongs to this process. */
  readonly index: number
  /** Key of the certificate that the other end of the session showed. */
  readonly peerKey: KeyObject
  readonly nowMs: number
}

export interface ReadToken {
  readonly text: string
  /** Undefined when the token does not parse. */
  readonly claims: Claims | undefined
}

/** Reads tokens once for all policies; nothing is verified here. */
export function readTokens(texts: readonly string[]): ReadToken[] {
  return texts.map((text) => ({ text, claims: claimsOf(text) }))
}

/** The first reason that any of the policies has. */
export function firstRefusal<Input>(policies: readonly Policy<Input>[], input: Input): string | undefined {
  for (const policy of policies) {
    const reason = policy(input)
    if (reason !== undefined) return reason
  }
  return undefined
}

function claimsOf(text: string): Claims | undefined {
  try {
    return parseToken(text)
  } catch {
    return undefined
  }
}
