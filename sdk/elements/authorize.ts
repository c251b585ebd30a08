import type { Connection, Path } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element, type NetworkService } from '../chain.ts'
import { detached, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Peer } from '../peer.ts'
import { nextTokenSigned } from '../policies/next-token-signed.ts'
import { firstRefusal, readTokens, type Policy, type TokenPath } from '../policies/policy.ts'
import { prevTokenNamesPeer } from '../policies/prev-token-names-peer.ts'
import { prevTokenSigned } from '../policies/prev-token-signed.ts'
import { publicKeyOf } from '../policies/signed-by.ts'
import { tokensChained } from '../policies/tokens-chained.ts'
import { tokensExpired } from '../policies/tokens-expired.ts'
import { tokensValid } from '../policies/tokens-valid.ts'
import { Refusal } from '../refusal.ts'
import { remoteOfCall } from './dial.ts'

const common = [tokensValid, tokensExpired, tokensChained] as const

/** What a NetworkService server checks by default (§3.6). */
export const serverPolicies: readonly Policy<TokenPath>[] = [...common, prevTokenSigned, prevTokenNamesPeer]
/** What an end client checks by default (§3.6). */
export const clientPolicies: readonly Policy<TokenPath>[] = [...common, nextTokenSigned]

/** Whose connection it is. */
interface Owner {
  /** `sub` of the path's first token; verified when that is the caller's own. */
  readonly spiffeId: string | undefined
  /** Where on the path this process stands: 1 = the owner calls directly. */
  readonly index: number
}

/**
 * Refuses calls whose path, up to the own segment, breaks a policy, and calls for a connection that somebody else began (§3.6).
 * Calls that did not come over gRPC pass. @throws Refusal
 */
export function authorizeServer(policies: readonly Policy<TokenPath>[] = serverPolicies): Element {
  const owners = new Map<string, Owner>()

  function check(ctx: Ctx, conn: Connection): Owner | undefined {
    if (ctx.peer === undefined) return undefined
    const path = tokenPath(ctx, conn, { peer: ctx.peer, left: true })
    const owner: Owner = { spiffeId: path.tokens[0]?.claims?.sub, index: path.index }
    const known = owners.get(conn.id)
    const reason = firstRefusal(policies, path) ?? foreign(known, owner)
    if (reason !== undefined) throw new Refusal(reason)
    return owner
  }

  return {
    name: 'authorize server',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const owner = check(ctx, conn)
      const known = owners.has(conn.id)
      if (owner !== undefined) owners.set(conn.id, owner)
      try {
        return await next.request(ctx, req)
      } catch (err) {
        if (!known) owners.delete(conn.id)
        throw err
      }
    },

    async close(ctx, conn, next) {
      check(ctx, conn)
      try {
        await next.close(ctx, conn)
      } finally {
        owners.delete(conn.id)
      }
    },
  }
}

/** More answers of one connection than that are not lost between this element and whoever stores them. */
const rememberedEnds = 4

/**
 * An end client's check of the whole path of each answer, and of the stored one before Close (§3.6).
 * A new connection that fails it is closed again. @throws NsmError PERMISSION_DENIED
 */
export function authorizeClient(policies: readonly Policy<TokenPath>[] = clientPolicies): Element {
  /** Who has answered, the last one first: a Close may go over a newer session, and an answer may be lost on the way to the store. */
  const ends = new Map<string, readonly Shown[]>()

  const refusalOf = (ctx: Ctx, conn: Connection, peer: Shown): string | undefined =>
    firstRefusal(policies, tokenPath(ctx, conn, { peer, left: false }))

  return {
    name: 'authorize client',

    async request(ctx, req, next) {
      const conn = await next.request(ctx, req)
      const { certificate, spiffeId } = remoteOfCall(ctx).peer
      const known = ends.get(conn.id)
      const reason = refusalOf(ctx, conn, { certificate, spiffeId })
      if (reason !== undefined) {
        if (known === undefined) await closeRefused(ctx, conn, next)
        throw denied(reason)
      }
      const others = known?.filter((end) => end.certificate.fingerprint256 !== certificate.fingerprint256)
      ends.set(conn.id, [{ certificate, spiffeId }, ...(others ?? [])].slice(0, rememberedEnds))
      return conn
    },

    async close(ctx, conn, next) {
      const known = ends.get(conn.id) ?? [remoteOfCall(ctx).peer]
      ends.delete(conn.id)
      const reasons = known.map((peer) => refusalOf(ctx, conn, peer))
      if (reasons[0] !== undefined && !reasons.includes(undefined)) throw denied(reasons[0])
      await next.close(ctx, conn)
    },
  }
}

function denied(reason: string): NsmError {
  return new NsmError('PERMISSION_DENIED', `no sufficient privileges: ${reason}`)
}

async function closeRefused(ctx: Ctx, conn: Connection, next: NetworkService): Promise<void> {
  await next.close(detached(ctx), conn).catch((cause: unknown) => {
    ctx.log.warn({ connection_id: conn.id, err: String(cause) }, 'close after a refused answer failed')
  })
}

function foreign(known: Owner | undefined, caller: Owner): string | undefined {
  if (known === undefined) return undefined
  const same = known.spiffeId === caller.spiffeId && known.index === caller.index
  return same ? undefined : 'the connection belongs to another client'
}

/** What the other end of a session has shown. */
type Shown = Pick<Peer, 'certificate' | 'spiffeId'>

interface Looked {
  readonly peer: Shown
  /** Only up to the own segment. */
  readonly left: boolean
}

function tokenPath(ctx: Ctx, conn: Connection, { peer, left }: Looked): TokenPath {
  const path: Path = conn.path ?? { index: 0, pathSegments: [] }
  const segments = left ? path.pathSegments.slice(0, path.index + 1) : path.pathSegments
  return {
    tokens: readTokens(segments.map(({ token }) => token)),
    index: path.index,
    peerKey: publicKeyOf(peer.certificate),
    peerId: peer.spiffeId,
    nowMs: ctx.clock.now(),
  }
}
