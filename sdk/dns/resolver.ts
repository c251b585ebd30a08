import { answerCache } from './cache.ts'
import { fanout, type ServerHealth } from './fanout.ts'
import type { Query, Reply } from './message.ts'
import { upstream, type Question, type Upstream, type UpstreamOptions } from './upstream.ts'
import { zoneFor, type DnsView } from './view.ts'

/** How one question was answered, for status and metrics. */
export interface Resolution {
  readonly reply: Reply
  /** Address of the server that answered; undefined for the cache, and when no server did. `reply.origin` tells it to whoever asks. */
  readonly server: string | undefined
  readonly source: 'cache' | 'server' | 'none'
}

export interface Resolver {
  resolve(query: Query, signal: AbortSignal): Promise<Resolution>
  /** Takes new servers at once; questions that run go on with those they were asked of. */
  setView(view: DnsView): void
  readonly view: DnsView
  /** Per server: what was last wrong with it, and how often it answered. */
  servers(): readonly { readonly address: string; readonly health: Readonly<ServerHealth> }[]
  /** Answers in the cache. */
  readonly cached: number
  close(): void
}

export interface ResolverOptions extends UpstreamOptions {
  /**
   * Tries names with fewer dots than this with the search list too, for pods whose resolv.conf can't carry the services' domains.
   * 0 = never: the C library does it.
   */
  readonly searchBelowDots: number
  /** Domains that the C library appends by itself: names in them are complete. */
  readonly searchedBefore?: readonly string[]
  readonly now?: () => number
}

/** Different questions in flight at once; more are answered with SERVFAIL at once. */
const maxInFlight = 4_096

const failure: Reply = {
  rcode: 'SERVFAIL',
  authoritative: false,
  authenticated: false,
  answers: [],
  authorities: [],
  additionals: [],
  origin: 'nobody',
}

const unanswered: Resolution = { reply: failure, server: undefined, source: 'none' }

export function resolver(initial: DnsView, options: ResolverOptions): Resolver {
  const now = options.now ?? Date.now
  const cache = answerCache(now)
  const known = serverPool(options)
  let view = initial

  const ask = singleFlight(async (question) => {
    const cached = cache.get(question)
    if (cached !== undefined)
      return { reply: { ...cached, origin: 'cache' }, server: undefined, source: 'cache' }
    const asked = view
    const zone = zoneFor(asked, question.name)
    if (zone === undefined) return unanswered
    const servers = zone.servers.map((address) => known.at(address))
    const { answer, winner } = await fanout(servers, question, now)
    if (answer === undefined) return unanswered
    // An answer of servers that have gone since must not outlive them.
    if (asked === view) cache.set(question, answer)
    if (winner === undefined) return { reply: answer, server: undefined, source: 'server' }
    const won = servers.find(({ upstream: { address } }) => address === winner)
    if (won !== undefined) won.health.won += 1
    return { reply: { ...answer, origin: winner }, server: winner, source: 'server' }
  })

  return {
    async resolve(query, signal) {
      let best: Resolution | undefined
      for (const name of candidates(query.name, view, options)) {
        signal.throwIfAborted()
        const found = await ask({ name, type: query.type, wantsDnssec: query.wantsDnssec })
        if (found.reply.rcode === 'NOERROR' && found.reply.answers.length > 0) {
          return name === query.name
            ? found
            : { ...found, reply: underAskedName(found.reply, name, query.asked) }
        }
        // A name without records of this type still exists, which some C libraries make much of.
        if (best === undefined || (best.reply.rcode === 'NXDOMAIN' && found.reply.rcode === 'NOERROR'))
          best = found
      }
      return best ?? unanswered
    },
    setView(next) {
      view = next
      cache.clear()
      known.keep(new Set(next.zones.flatMap((zone) => zone.servers)))
    },
    get view() {
      return view
    },
    servers: () => known.list(),
    get cached() {
      return cache.size
    },
    close: () => known.keep(new Set()),
  }
}

interface Server {
  readonly upstream: Upstream
  readonly health: ServerHealth
}

/** One `Upstream` per address, made when first asked. */
function serverPool(options: UpstreamOptions): {
  at(address: string): Server
  keep(addresses: ReadonlySet<string>): void
  list(): { address: string; health: ServerHealth }[]
} {
  const servers = new Map<string, Server>()
  return {
    at(address) {
      const known = servers.get(address)
      if (known !== undefined) return known
      const health = {
        failures: 0,
        lastError: undefined,
        lastErrorAt: undefined,
        answered: 0,
        won: 0,
        failed: 0,
      }
      const fresh = { upstream: upstream(address, options), health }
      servers.set(address, fresh)
      return fresh
    },
    keep(addresses) {
      for (const [address, server] of servers) {
        if (addresses.has(address)) continue
        server.upstream.close()
        servers.delete(address)
      }
    },
    list: () => [...servers].map(([address, { health }]) => ({ address, health })),
  }
}

/** Equal questions at one time are one question to the servers. */
function singleFlight(
  ask: (question: Question) => Promise<Resolution>,
): (question: Question) => Promise<Resolution> {
  const flights = new Map<string, Promise<Resolution>>()
  return (question) => {
    const key = `${question.name} ${question.type} ${question.wantsDnssec}`
    const running = flights.get(key)
    if (running !== undefined) return running
    if (flights.size >= maxInFlight) return Promise.resolve(unanswered)
    const flight = ask(question).finally(() => flights.delete(key))
    flights.set(key, flight)
    return flight
  }
}

/** The name as asked, then with the search list if it is short enough. */
function candidates(
  name: string,
  { search }: DnsView,
  { searchBelowDots, searchedBefore = [] }: ResolverOptions,
): string[] {
  const isShort =
    name.split('.').length - 2 < searchBelowDots &&
    ![...searchedBefore, ...search].some((domain) => name.endsWith(`.${domain}.`))
  const searched = isShort ? search.map((domain) => `${name}${domain}.`) : []
  return [name, ...searched.filter((long) => long.length <= 254)]
}

/** The asker knows the short name only: the records of the long one are given under it. */
function underAskedName(reply: Reply, longName: string, asked: string): Reply {
  const long = longName.slice(0, -1)
  return {
    ...reply,
    answers: reply.answers.map((record) =>
      record.name.toLowerCase() === long ? { ...record, name: asked } : record,
    ),
  }
}
