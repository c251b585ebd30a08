import type { X509Certificate } from 'node:crypto'
import type { Connection, PathSegment } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'
import { valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Peer } from '../peer.ts'
import { readTokens } from '../policies/policy.ts'
import type { TokenGenerator } from '../tokens.ts'
import { incomingCall, tokenExpiresHeader, tokenHeader } from '../transport/call.ts'

/**
 * Puts the caller's token and a new own one into the path (§3.3). Calls that did not come over gRPC pass untouched.
 *
 * The caller's expiry is never believed beyond the token's own or the certificate's, since the connection lives by it.
 */
export function updateToken(tokens: TokenGenerator): Element {
  return {
    name: 'updatetoken',
    request: (ctx, req, next) =>
      next.request(ctx, { ...req, connection: withTokens(ctx, connectionOf(req), tokens) }),
    close: (ctx, conn, next) => next.close(ctx, withTokens(ctx, conn, tokens)),
  }
}

function withTokens(ctx: Ctx, conn: Connection, generate: TokenGenerator): Connection {
  const { path } = conn
  if (ctx.peer === undefined || path === undefined) return conn
  const { index } = path
  const received = index > 0 ? receivedToken(ctx, ctx.peer) : {}
  const own = generate(ctx.peer)
  const pathSegments = path.pathSegments.map((segment, i): PathSegment => {
    if (i === index - 1) return { ...segment, ...received }
    return i === index ? { ...segment, ...own } : segment
  })
  return { ...conn, path: { ...path, pathSegments } }
}

type Received = Partial<Pick<PathSegment, 'token' | 'expires'>>

function receivedToken(ctx: Ctx, peer: Peer): Received {
  const headers = valueOf(ctx, incomingCall)?.requestHeaders
  const token = headers?.get(tokenHeader)
  const expires = headers?.get(tokenExpiresHeader)
  if (token === undefined || expires === undefined) {
    ctx.log.warn({ spiffe_id: peer.spiffeId }, `call without ${tokenHeader} or ${tokenExpiresHeader}`)
    return {}
  }
  const toldMs = Date.parse(expires)
  if (!rfc3339.test(expires) || Number.isNaN(toldMs)) {
    throw new NsmError('INVALID_ARGUMENT', `${tokenExpiresHeader} must be an RFC 3339 time`)
  }
  return { token, expires: new Date(Math.min(toldMs, expiryOf(token), endOf(peer.certificate))) }
}

/** Written out for each look by OpenSSL, else. */
const ends = new WeakMap<X509Certificate, number>()

/** Milliseconds since the epoch. */
function endOf(certificate: X509Certificate): number {
  const known = ends.get(certificate) ?? Date.parse(certificate.validTo)
  ends.set(certificate, known)
  return known
}

const rfc3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/

/** A token that cannot be read has no limit here: the policies refuse it. */
function expiryOf(token: string): number {
  const [read] = readTokens([token])
  return (read?.claims?.exp ?? Infinity) * 1000
}
