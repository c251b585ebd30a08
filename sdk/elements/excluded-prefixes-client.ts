import type { Connection } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { mechanismParameters } from '@nsm/api/constants.js'
import type { NsUrl } from '@nsm/api/nsurl.js'
import { connectionOf, type Element, type NetworkService } from '../chain.ts'
import { ipContextOf, withContext } from '../connection-context.ts'
import { detached, withCancel, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { exclusions, type Exclusions } from '../net/pool.ts'
import { formatPrefix, parseAddress, parsePrefix, type Prefix } from '../net/prefix.ts'
import { sleep } from '../sleep.ts'

/** What one connection of this client has. */
interface Used {
  /** Its addresses and routes. */
  readonly prefixes: readonly string[]
  /** What this element put into its exclusions. */
  readonly added: readonly string[]
  readonly group: number | undefined
}

/** One that waits for its endpoint does not keep the others from theirs. */
const patienceMs = 1_000

/**
 * Keeps the connections of one client apart: each excludes the addresses and routes of the others, except in one awareness
 * group, and an answer that has an excluded address is refused (wire contract §5.7). Connections may be requested at once: new ones
 * wait a little for each other, since two of the same address would take each other's routes until one is asked for again
 * with the newer exclusions.
 */
export function excludedPrefixesClient(awarenessGroups: readonly (readonly NsUrl[])[] = []): Element {
  const used = new Map<string, Used>()
  /** The new connection before is made, or has failed. */
  let last: Promise<void> = Promise.resolve()

  function othersOf(id: string, group: number | undefined): string[] {
    const others = [...used].filter(
      ([other, { group: its }]) => other !== id && (its === undefined || its !== group),
    )
    return [...new Set(others.flatMap(([, { prefixes }]) => prefixes))]
  }

  async function apart(ctx: Ctx, req: NetworkServiceRequest, next: NetworkService): Promise<Connection> {
    const conn = connectionOf(req)
    const group = groupOf(awarenessGroups, req)
    const added = used.get(conn.id)?.added ?? []
    const others = othersOf(conn.id, group)
    const given = await next.request(ctx, { ...req, connection: excluding(conn, added, others) })
    const newer = othersOf(conn.id, group)
    const answer = isFree(given, newer)
      ? given
      : await again(ctx, { ...req, connection: excluding(given, others, newer) }, next)
    const latest = othersOf(conn.id, group)
    if (!isFree(answer, latest)) {
      used.delete(conn.id)
      await closed(ctx, answer, next)
      const { srcIpAddrs, dstIpAddrs } = ipContextOf(answer)
      throw new NsmError(
        'FAILED_PRECONDITION',
        `endpoint ${answer.networkServiceEndpointName} gave excluded addresses: ${[...srcIpAddrs, ...dstIpAddrs].join(', ')}`,
      )
    }
    used.set(conn.id, { prefixes: prefixesOf(answer), added: answer === given ? others : newer, group })
    return answer
  }

  return {
    name: 'excluded prefixes client',

    async request(ctx, req, next) {
      if (used.has(connectionOf(req).id)) return apart(ctx, req, next)
      const before = last
      let end = (): void => undefined
      last = new Promise((resolve) => (end = resolve))
      try {
        await withCancel(ctx, async (waiting, cancel) => {
          await Promise.race([before, sleep(waiting, patienceMs)]).finally(() => cancel(undefined))
        })
        return await apart(ctx, req, next)
      } finally {
        end()
      }
    },

    async close(ctx, conn, next) {
      try {
        await next.close(ctx, conn)
      } finally {
        used.delete(conn.id)
      }
    },
  }
}

/** The second try for an answer that clashes: without the clashing addresses, so that the endpoint chooses others. */
async function again(ctx: Ctx, req: NetworkServiceRequest, next: NetworkService): Promise<Connection> {
  const conn = connectionOf(req)
  try {
    return await next.request(ctx, { ...req, connection: withoutExcluded(conn) })
  } catch (err) {
    await closed(ctx, conn, next)
    throw err
  }
}

async function closed(ctx: Ctx, conn: Connection, next: NetworkService): Promise<void> {
  await next
    .close(detached(ctx), conn)
    .catch((err: unknown) =>
      ctx.log.warn({ connection_id: conn.id, err: String(err) }, 'close of a clashing connection failed'),
    )
}

function excluding(conn: Connection, before: readonly string[], now: readonly string[]): Connection {
  const ipContext = ipContextOf(conn)
  const own = ipContext.excludedPrefixes.filter((prefix) => !before.includes(prefix))
  return withContext(conn, { ipContext: { ...ipContext, excludedPrefixes: [...new Set([...own, ...now])] } })
}

function isFree(conn: Connection, others: readonly string[]): boolean {
  const { srcIpAddrs, dstIpAddrs, excludedPrefixes } = ipContextOf(conn)
  const excluded = exclusions(parsed([...excludedPrefixes, ...others]))
  return !parsed([...srcIpAddrs, ...dstIpAddrs]).some(({ address }) => excluded.covers(address))
}

function withoutExcluded(conn: Connection): Connection {
  const ipContext = ipContextOf(conn)
  const excluded = exclusions(parsed(ipContext.excludedPrefixes))
  const stays = (text: string): boolean => !covers(excluded, text)
  const kept = {
    srcIpAddrs: ipContext.srcIpAddrs.filter(stays),
    dstIpAddrs: ipContext.dstIpAddrs.filter(stays),
    srcRoutes: ipContext.srcRoutes.filter(({ prefix, nextHop }) => stays(prefix) && stays(nextHop)),
    dstRoutes: ipContext.dstRoutes.filter(({ prefix, nextHop }) => stays(prefix) && stays(nextHop)),
  }
  return withContext(conn, { ipContext: { ...ipContext, ...kept } })
}

function covers(excluded: Exclusions, text: string): boolean {
  const address = parsePrefix(text)?.address ?? parseAddress(text)
  return address !== undefined && excluded.covers(address)
}

/** Addresses and routes of a connection; a default route is meant to overlap with everything. */
function prefixesOf(conn: Connection): string[] {
  const { srcIpAddrs, dstIpAddrs, srcRoutes, dstRoutes } = ipContextOf(conn)
  const routes = [...srcRoutes, ...dstRoutes].map(({ prefix }) => prefix)
  const prefixes = parsed([...srcIpAddrs, ...dstIpAddrs, ...routes]).filter(({ length }) => length > 0)
  return [...new Set(prefixes.map(formatPrefix))]
}

function parsed(texts: readonly string[]): Prefix[] {
  return texts.flatMap((text) => parsePrefix(text) ?? [])
}

/** Index of the awareness group that has a URL for this request. */
function groupOf(groups: readonly (readonly NsUrl[])[], req: NetworkServiceRequest): number | undefined {
  const at = groups.findIndex((urls) => urls.some((url) => isFor(url, req)))
  return at < 0 ? undefined : at
}

function isFor(url: NsUrl, req: NetworkServiceRequest): boolean {
  const { networkService, mechanism, labels } = connectionOf(req)
  const offered = mechanism === undefined ? req.mechanismPreferences : [mechanism]
  return (
    url.networkService === networkService &&
    Object.entries(url.labels).every(([name, value]) => labels[name] === value) &&
    offered.some(
      ({ type, parameters }) =>
        type === url.mechanism &&
        (url.interfaceName === undefined || url.interfaceName === parameters[mechanismParameters.name]),
    )
  )
}
