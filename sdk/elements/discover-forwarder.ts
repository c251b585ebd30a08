import { State, type Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceEndpoint, type Match, type NetworkService } from '@nsm/api/gen/registry.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { connectionOf, type Element, type NetworkService as Service } from '../chain.ts'
import { key, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { isExpired, isSubset, serviceLabels, type Labels } from '../match/selectors.ts'
import { clientUrl, closeUrl } from './client-url.ts'
import { findNetworkService, together, type Registries } from './discover.ts'
import { metadataOf } from './metadata.ts'

export interface DiscoverForwarderOptions {
  readonly registries: Registries
  /** Public URL of this nsmgr: forwarders that registered through it are stored under it. */
  readonly nsmgrUrl: string
  /** Network service that forwarders register; default `forwarder`. */
  readonly forwarderService?: string
}

const forwarderName: Key<string> = key('name of the forwarder')

/** Labels that a forwarder needs for a match that says nothing about forwarders (§5.2). */
const pointToPoint: Labels = { p2p: 'true' }

/**
 * Sends a request to a forwarder of this node that fits the network service (§5.2). The one that accepts is remembered for the
 * connection: another one is only tried when the client asks to reselect. Needs `metadata` of the server half before it.
 */
export function discoverForwarder(options: DiscoverForwarderOptions): Element {
  const { registries, forwarderService = 'forwarder' } = options

  async function fitting(
    ctx: Ctx,
    conn: Connection,
    remembered: string | undefined,
  ): Promise<readonly NetworkServiceEndpoint[]> {
    const [service, all] = await together(
      findNetworkService(ctx, registries, conn),
      findForwarders(ctx, options, remembered ?? ''),
    )
    const chosen = selectForwarders(service, all, conn.labels, forwarderService)
    if (chosen.length > 0) return chosen
    if (remembered !== undefined)
      throw new NsmError('UNAVAILABLE', `forwarder ${remembered} is not available`)
    throw new NsmError(
      'UNAVAILABLE',
      `no forwarder for network service ${service.name}: none of ${all.length} on this node matches`,
    )
  }

  async function urlOf(ctx: Ctx, conn: Connection, name: string | undefined): Promise<string | undefined> {
    const found = name === undefined ? [] : await findForwarders(ctx, options, name).catch(() => [])
    const chosen = found.find((endpoint) => endpoint.name === name)
    if (chosen === undefined)
      ctx.log.warn({ connection_id: conn.id, forwarder: name }, 'forwarder to close is not found')
    return chosen?.url
  }

  return {
    name: 'discoverforwarder',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const store = metadataOf(ctx, 'server')
      const reselect = conn.state === State.RESELECT_REQUESTED
      const remembered = reselect ? undefined : store.get(forwarderName)
      const found = await fitting(ctx, conn, remembered)
      const ordered = reselect ? found : firstNamed(found, nextSegment(conn))
      const { answer, name } = await firstToAccept(ctx, req, next, ordered)
      store.set(forwarderName, name)
      return answer
    },

    async close(ctx, conn, next) {
      const name = metadataOf(ctx, 'server').get(forwarderName) ?? nextSegment(conn)
      const url = (): Promise<string | undefined> => urlOf(ctx, conn, name)
      await next.close(withValue(ctx, closeUrl, url), conn)
    },
  }
}

/** Those of this node that live: all of them, or the one with this name. */
async function findForwarders(
  ctx: Ctx,
  { registries, nsmgrUrl, forwarderService = 'forwarder' }: DiscoverForwarderOptions,
  name: string,
): Promise<NetworkServiceEndpoint[]> {
  const networkServiceEndpoint = NetworkServiceEndpoint.fromPartial({
    name,
    networkServiceNames: [forwarderService],
    url: nsmgrUrl,
  })
  const found: NetworkServiceEndpoint[] = []
  const query = { networkServiceEndpoint, watch: false }
  for await (const { networkServiceEndpoint: endpoint } of registries.networkServiceEndpoints.find(
    ctx,
    query,
  ))
    if (endpoint !== undefined && !isExpired(endpoint, ctx.clock.now())) found.push(endpoint)
  return found
}

/** The forwarders that a service allows to a client with these labels (§5.2, step 3). */
function selectForwarders(
  service: NetworkService,
  forwarders: readonly NetworkServiceEndpoint[],
  labels: Labels,
  forwarderService: string,
): readonly NetworkServiceEndpoint[] {
  if (service.matches.length === 0) return forwarders
  for (const match of service.matches) {
    if (!isSubset(labels, match.sourceSelector, labels)) continue
    const wanted = wantedLabels(match)
    const found = forwarders.filter((endpoint) =>
      isSubset(serviceLabels(endpoint, forwarderService), wanted, labels),
    )
    if (found.length > 0 || !match.fallthrough) return found
  }
  return []
}

function wantedLabels(match: Match): Labels {
  const labels = match.metadata?.labels ?? {}
  return Object.keys(labels).length === 0 ? pointToPoint : labels
}

/** The hop after this one in an earlier answer, also one from before a restart of this process. */
function nextSegment(conn: Connection): string | undefined {
  return conn.path?.pathSegments[conn.path.index + 1]?.name
}

function firstNamed(
  endpoints: readonly NetworkServiceEndpoint[],
  name: string | undefined,
): readonly NetworkServiceEndpoint[] {
  return endpoints.toSorted((a, b) => Number(b.name === name) - Number(a.name === name))
}

async function firstToAccept(
  ctx: Ctx,
  req: NetworkServiceRequest,
  next: Service,
  forwarders: readonly NetworkServiceEndpoint[],
): Promise<{ answer: Connection; name: string }> {
  const reasons: string[] = []
  let last: NsmError | undefined
  for (const { name, url } of forwarders) {
    if (last !== undefined && ctx.signal.aborted) break
    try {
      return { answer: await next.request(withValue(ctx, clientUrl, url), req), name }
    } catch (reason) {
      last = NsmError.from(reason)
      reasons.push(`${name}: ${last.message}`)
    }
  }
  throw new NsmError(
    last?.code ?? 'UNAVAILABLE',
    `no forwarder accepted the request: ${reasons.join('; ')}`,
    {
      cause: last,
    },
  )
}
