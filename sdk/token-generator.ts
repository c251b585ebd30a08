import type { X509Certificate } from 'node:crypto'
import { SpiffeError } from '@nsm/spiffe/errors.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import type { X509Svid } from '@nsm/spiffe/svid.js'
import type { Clock } from './clock.ts'
import { NsmError } from './errors.ts'
import type { Peer } from './peer.ts'
import type { Token, TokenGenerator } from './tokens.ts'

export interface TokenGeneratorOptions {
  /** `NSM_MAX_TOKEN_LIFETIME`. */
  readonly maxLifetimeMs: number
  readonly clock: Clock
}

/** What was made for a session's other end last. */
interface Made {
  readonly spiffeId: string
  readonly localSvid: X509Svid
  readonly madeMs: number
  readonly token: Token
}

/** A token is given again for this part of its life: signing is the dearest part of a call. */
const reusedPart = 1 / 40

/**
 * Makes tokens as wire contract §3.3 wants them: about this end of a session, for its other end, signed with the key of the
 * session's own SVID, valid no longer than that. What is told beside the token ends with the other end's certificate, too.
 * @throws NsmError FAILED_PRECONDITION when the SVID's key is not EC P-256.
 */
export function tokenGenerator({ maxLifetimeMs, clock }: TokenGeneratorOptions): TokenGenerator {
  const lasts = new WeakMap<X509Certificate, Made>()

  return (peer) => {
    const nowMs = clock.now()
    const last = lasts.get(peer.certificate)
    const age = last === undefined ? Infinity : nowMs - last.madeMs
    const same = last?.localSvid === peer.localSvid && last.spiffeId === peer.spiffeId
    if (last !== undefined && same && age >= 0 && age < maxLifetimeMs * reusedPart) return last.token
    const token = makeToken(peer, nowMs + maxLifetimeMs)
    const { spiffeId, localSvid } = peer
    lasts.set(peer.certificate, { spiffeId, localSvid, madeMs: nowMs, token })
    return token
  }
}

function makeToken({ spiffeId, certificate, localSvid }: Peer, latestMs: number): Token {
  const ownEndMs = Date.parse(localSvid.certificates[0].validTo)
  const exp = Math.floor(Math.min(latestMs, ownEndMs) / 1_000)
  const expires = new Date(Math.min(exp * 1_000, Date.parse(certificate.validTo)))
  try {
    return { token: signEs256({ sub: localSvid.id, aud: [spiffeId], exp }, localSvid.privateKey), expires }
  } catch (err) {
    if (!(err instanceof SpiffeError)) throw err
    throw new NsmError('FAILED_PRECONDITION', `no token as ${localSvid.id}: ${err.message}`, { cause: err })
  }
}
