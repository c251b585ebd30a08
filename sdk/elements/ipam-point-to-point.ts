import { IPContext } from '@nsm/api/gen/connectioncontext.js'
import { connectionOf, type Element } from '../chain.ts'
import { ipContextOf, withContext } from '../connection-context.ts'
import { NsmError } from '../errors.ts'
import { pairPools, type AddressPair, type PairPools } from '../net/pair-pools.ts'
import { exclusions } from '../net/pool.ts'
import { formatAddress, parsePrefix, type Address, type Prefix } from '../net/prefix.ts'
import { hostAddresses, linkContext } from './link-context.ts'

export interface PointToPointOptions {
  /** A connection gets one pair of addresses of each group; the pools must not overlap. */
  readonly groups: readonly (readonly Prefix[])[]
  /**
   * What becomes of addresses that a client brings from elsewhere (NSM_IPAM_POLICY, wire contract §7.2):
   * `polite` leaves them when nobody else has them, `strict` resets the whole IP context.
   */
  readonly policy: 'polite' | 'strict'
}

/** Most entries that a request may have of each kind. */
const limits = {
  srcIpAddrs: 64,
  dstIpAddrs: 64,
  srcRoutes: 256,
  dstRoutes: 256,
  excludedPrefixes: 4096,
} as const

/** What one connection has: pairs of ours, and addresses of its own that stay. */
interface Holding {
  readonly pairs: readonly AddressPair[]
  readonly guests: readonly string[]
}

const nothing: Holding = { pairs: [], guests: [] }

/**
 * Gives each connection a pair of addresses per pool group, the endpoint's and the client's, with the host routes to them.
 *
 * A refresh keeps its addresses unless they have been excluded since. Free addresses of the pools that a request brings are
 * taken over, so an endpoint that was restarted answers the same as before. When the rest of the chain fails, the connection
 * has again what it had before: nothing, if it is a new one.
 */
export function ipamPointToPoint(options: PointToPointOptions): Element {
  const pools = pairPools(options.groups)
  const held = new Map<string, Holding>()
  const guestOwners = new Map<string, string>()

  function hold(id: string, holding: Holding): void {
    held.set(id, holding)
    for (const guest of holding.guests) guestOwners.set(guest, id)
  }

  function release(from: Holding, except: Holding): void {
    for (const pair of from.pairs) if (!except.pairs.includes(pair)) pools.release(pair)
    for (const guest of from.guests) if (!except.guests.includes(guest)) guestOwners.delete(guest)
  }

  return {
    name: 'ipam point to point',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const asked = admitted(ipContextOf(conn), pools, options.policy)
      const excluded = exclusions(asked.excludedPrefixes.map(excludedPrefix))
      const clients = hostAddresses(asked.srcIpAddrs)
      const endpoints = hostAddresses(asked.dstIpAddrs)
      const isGuest = (address: Address): boolean => {
        const owner = guestOwners.get(formatAddress(address))
        return !pools.has(address) && !excluded.covers(address) && (owner === undefined || owner === conn.id)
      }

      const before = held.get(conn.id)
      const holding = {
        pairs: pools.lease(before?.pairs ?? [], { clients, endpoints }, excluded),
        guests: [...clients, ...endpoints].filter(isGuest).map(formatAddress),
      }
      const ipContext = linkContext(asked, holding.pairs, isGuest)
      hold(conn.id, holding)
      try {
        const answer = await next.request(ctx, { ...req, connection: withContext(conn, { ipContext }) })
        release(before ?? nothing, holding)
        return answer
      } catch (err) {
        release(holding, before ?? nothing)
        if (before === undefined) held.delete(conn.id)
        else hold(conn.id, before)
        throw err
      }
    },

    async close(ctx, conn, next) {
      try {
        await next.close(ctx, conn)
      } finally {
        release(held.get(conn.id) ?? nothing, nothing)
        held.delete(conn.id)
      }
    },
  }
}

/** The IP context to work on. @throws NsmError INVALID_ARGUMENT when it is beyond all measure. */
function admitted(asked: IPContext, pools: PairPools, policy: PointToPointOptions['policy']): IPContext {
  for (const [field, limit] of Object.entries(limits) as [keyof typeof limits, number][]) {
    const { length } = asked[field]
    if (length > limit) {
      throw new NsmError(
        'INVALID_ARGUMENT',
        `ip context has ${length} entries in ${field}, at most ${limit} are allowed`,
      )
    }
  }
  const isOurs = (text: string): boolean => {
    const prefix = parsePrefix(text)
    return prefix !== undefined && pools.has(prefix.address)
  }
  if (policy === 'polite' || [...asked.srcIpAddrs, ...asked.dstIpAddrs].every(isOurs)) return asked
  // What must not be handed out stays so, whoever asks.
  return IPContext.fromPartial({ excludedPrefixes: asked.excludedPrefixes })
}

function excludedPrefix(text: string): Prefix {
  const prefix = parsePrefix(text)
  if (prefix !== undefined) return prefix
  throw new NsmError(
    'INVALID_ARGUMENT',
    `excluded prefix must be a prefix as 10.96.0.0/12, not ${JSON.stringify(text.slice(0, 60))}`,
  )
}
