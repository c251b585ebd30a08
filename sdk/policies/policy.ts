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
  /** SPIFFE ID of the other end of the session. */
  readonly peerId: string
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

/** The tokens of the connections that are refreshed now come again with every call. */
const maxKept = 1_024
const maxKeptLength = 2_048
const kept = new Map<string, Claims>()

function claimsOf(text: string): Claims | undefined {
  const known = kept.get(text)
  if (known !== undefined) return known
  try {
    const claims = parseToken(text)
    for (const oldest of kept.keys()) if (kept.size >= maxKept) kept.delete(oldest)
    if (text.length <= maxKeptLength) kept.set(text, claims)
    return claims
  } catch {
    return undefined
  }
}
