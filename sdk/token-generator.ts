import { SpiffeError } from '@nsm/spiffe/errors.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import type { Clock } from './clock.ts'
import { NsmError } from './errors.ts'
import type { TokenGenerator } from './tokens.ts'

export interface TokenGeneratorOptions {
  /** `NSM_MAX_TOKEN_LIFETIME`. */
  readonly maxLifetimeMs: number
  readonly clock: Clock
}

/**
 * Makes tokens as wire contract §3.3 wants them: about this end of a session, for its other end, signed with the key of the
 * session's own SVID, valid no longer than that. What is told beside the token ends with the other end's certificate, too.
 * @throws NsmError FAILED_PRECONDITION when the SVID's key is not EC P-256.
 */
export function tokenGenerator({ maxLifetimeMs, clock }: TokenGeneratorOptions): TokenGenerator {
  return ({ spiffeId, certificate, localSvid }) => {
    const ownEndMs = Date.parse(localSvid.certificates[0].validTo)
    const exp = Math.floor(Math.min(clock.now() + maxLifetimeMs, ownEndMs) / 1_000)
    const expires = new Date(Math.min(exp * 1_000, Date.parse(certificate.validTo)))
    try {
      return { token: signEs256({ sub: localSvid.id, aud: [spiffeId], exp }, localSvid.privateKey), expires }
    } catch (err) {
      if (!(err instanceof SpiffeError)) throw err
      throw new NsmError('FAILED_PRECONDITION', `no token as ${localSvid.id}: ${err.message}`, { cause: err })
    }
  }
}
