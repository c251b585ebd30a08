import type { Connection } from '@nsm/api/gen/connection.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { parsePrefix, type Address } from '@nsm/sdk/net/prefix.js'
import { formatAddress } from '@nsm/sdk/net/prefix.js'

/** One echo; the round trip in ms, undefined when no reply came in time. Rejects when it cannot even be sent. */
export type Ping = (source: string, destination: string, timeoutMs: number) => Promise<number | undefined>

const echoes = 4
/** More pairs of addresses than this are not tested. */
const maxPairs = 64
/** A peer that has answered within microseconds before does not suddenly take a second; a stalled machine may take this. */
const shortestMs = 200
const slowerTimes = 50
/** Before it counts as dead it is asked once more: a reselect costs packets, and a stalled machine is no dead peer. */
const secondTryMs = 300

/**
 * Whether packets pass on a KERNEL connection: of four echoes for each pair of addresses, one at least is answered (§4.5).
 * What cannot be tested counts as alive. `timeoutMs` is the most that is waited; once a peer's round trip is known,
 * fifty of them, but 200 ms at least, are enough.
 */
export function liveness(ping: Ping, timeoutMs: number): (ctx: Ctx, conn: Connection) => Promise<boolean> {
  const roundTrips = new Map<string, number>()

  async function passes(ctx: Ctx, link: string, [source, destination]: Pair): Promise<boolean> {
    const key = `${link} ${source} ${destination}`
    const known = roundTrips.get(key)
    const budgetMs =
      known === undefined ? timeoutMs : Math.min(timeoutMs, Math.max(shortestMs, known * slowerTimes))
    const pair = [source, destination] as const
    const again = Math.min(secondTryMs, timeoutMs - budgetMs)
    const first = await firstReply(ctx, ping, pair, budgetMs)
    const ms = first ?? (again > 0 ? await firstReply(ctx, ping, pair, again) : undefined)
    if (ms === undefined) return false
    roundTrips.delete(key)
    roundTrips.set(key, known === undefined ? ms : Math.max(ms, known * 0.9))
    for (const oldest of roundTrips.keys()) if (roundTrips.size > 10 * maxPairs) roundTrips.delete(oldest)
    return true
  }

  return async (ctx, conn) => {
    // What the last endpoint's link did says nothing of a new one, which may take its time to come up.
    const link = conn.path?.pathSegments.at(-1)?.id ?? ''
    const results = await Promise.all(pairsOf(conn).map((pair) => passes(ctx, link, pair)))
    return !results.includes(false)
  }
}

type Pair = readonly [source: string, destination: string]

/** Sends the echoes over the first half of the time; the first reply decides, or the first one that can't even be sent: the interface is gone. */
async function firstReply(
  ctx: Ctx,
  ping: Ping,
  [source, destination]: Pair,
  budgetMs: number,
): Promise<number | undefined> {
  const stop = new AbortController()
  const signal = AbortSignal.any([ctx.signal, stop.signal])
  const gapMs = budgetMs / 2 / echoes
  let unsendable = (): void => undefined
  const gone = new Promise<undefined>((resolve) => (unsendable = () => resolve(undefined)))
  const echo = async (i: number): Promise<number> => {
    if (i > 0) await sleep({ clock: ctx.clock, signal }, i * gapMs)
    const ms = await ping(source, destination, budgetMs - i * gapMs).catch((err: unknown) => {
      if (isGone(err)) unsendable()
      return undefined
    })
    if (ms === undefined) throw new Error('no reply')
    return ms
  }
  try {
    return await Promise.race([Promise.any(Array.from({ length: echoes }, async (_, i) => echo(i))), gone])
  } catch {
    ctx.signal.throwIfAborted()
    return undefined
  } finally {
    stop.abort()
  }
}

/** There is no interface, or no address on it, to send from. */
function isGone(err: unknown): boolean {
  const { code } = err as { code?: unknown }
  return ['ENODEV', 'ENETDOWN', 'ENETUNREACH', 'EADDRNOTAVAIL'].includes(String(code))
}

/**
 * Each of the client's addresses with each of the endpoint's of the same family. An address that is there for a policy route,
 * with a network of its own, may be another client's, too: echoes to it need not come back here.
 */
function pairsOf(conn: Connection): readonly Pair[] {
  if (conn.mechanism?.type !== 'KERNEL') return []
  const ip = conn.context?.ipContext
  const forPolicies = new Set(ip?.policies.map(({ from }) => from))
  const own = ip?.srcIpAddrs.filter((text, at) => at === 0 || !forPolicies.has(text))
  const sources = addressesOf(own)
  const destinations = addressesOf(ip?.dstIpAddrs)
  return sources
    .flatMap((source) =>
      destinations
        .filter(({ family }) => family === source.family)
        .map((destination): Pair => [formatAddress(source), formatAddress(destination)]),
    )
    .slice(0, maxPairs)
}

function addressesOf(texts: readonly string[] | undefined): readonly Address[] {
  return (texts ?? []).flatMap((text) => parsePrefix(text)?.address ?? [])
}
