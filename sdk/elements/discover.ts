import type { Connection } from '@nsm/api/gen/connection.js'
import type { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import {
  NetworkService as NetworkServiceMessage,
  NetworkServiceEndpoint as EndpointMessage,
} from '@nsm/api/gen/registry.js'
import { connectionOf, type Element } from '../chain.ts'
import { key, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { matchEndpoints } from '../match/selectors.ts'
import type { NetworkServiceEndpointRegistry, NetworkServiceRegistry } from '../registry-chain.ts'
import { clientUrl, closeUrl } from './client-url.ts'

/** Endpoints that may serve a request, best first. */
export interface Candidates {
  readonly networkService: NetworkService
  /** Never empty. */
  readonly endpoints: readonly NetworkServiceEndpoint[]
}

/** Left by `discover` for the element that chooses. */
export const candidates: Key<Candidates> = key('endpoint candidates')

/** Both registries, as a client sees them. */
export interface Registries {
  readonly networkServices: NetworkServiceRegistry
  readonly networkServiceEndpoints: NetworkServiceEndpointRegistry
}

/**
 * Finds who is to serve a request (§5.3): the endpoint that it names, whose URL becomes the next hop's, or else all endpoints that match
 * its service and labels. Looks once: waiting for an endpoint to appear is the client's affair. @throws NsmError NOT_FOUND
 */
export function discover(registries: Registries): Element {
  return {
    name: 'discover',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      if (conn.networkServiceEndpointName !== '') {
        const endpoint = await endpointNamed(ctx, registries, conn.networkServiceEndpointName)
        return next.request(withValue(ctx, clientUrl, endpoint.url), req)
      }
      const [networkService, all] = await together(
        findNetworkService(ctx, registries, conn),
        endpointsOf(ctx, registries, conn.networkService),
      )
      const found = matchEndpoints({ labels: conn.labels, now: ctx.clock.now() }, networkService, all)
      if (found.length === 0)
        throw new NsmError(
          'NOT_FOUND',
          `network service endpoint candidates not found: ${missing(all.length, networkService.name)}`,
        )
      const connection = { ...conn, payload: networkService.payload }
      const inner = withValue(ctx, candidates, { networkService, endpoints: found })
      return next.request(inner, { ...req, connection })
    },

    async close(ctx, conn, next) {
      const found = async (): Promise<string | undefined> => {
        try {
          return (await endpointNamed(ctx, registries, conn.networkServiceEndpointName)).url
        } catch (err) {
          // The URL that was dialled last is used instead (§4.3).
          ctx.log.warn({ connection_id: conn.id, err: String(err) }, 'endpoint to close is not found')
          return undefined
        }
      }
      await next.close(withValue(ctx, closeUrl, found), conn)
    },
  }
}

async function endpointNamed(
  ctx: Ctx,
  { networkServiceEndpoints }: Registries,
  name: string,
): Promise<NetworkServiceEndpoint> {
  if (name === '') throw new NsmError('NOT_FOUND', 'connection has no network service endpoint name')
  const query = { networkServiceEndpoint: EndpointMessage.fromPartial({ name }), watch: false }
  try {
    for await (const { networkServiceEndpoint: found } of networkServiceEndpoints.find(ctx, query))
      if (found?.name === name) return found
  } catch (reason) {
    const err = NsmError.from(reason)
    throw new NsmError(err.code, `network service endpoint ${name}: ${err.message}`, { cause: err })
  }
  throw new NsmError('NOT_FOUND', `network service endpoint ${name} is not found`)
}

/** The service that a connection asks for, by exact name (§5.2, §5.3). @throws NsmError NOT_FOUND */
export async function findNetworkService(
  ctx: Ctx,
  { networkServices }: Pick<Registries, 'networkServices'>,
  conn: Pick<Connection, 'networkService' | 'payload'>,
): Promise<NetworkService> {
  const { networkService: name, payload } = conn
  const query = { networkService: NetworkServiceMessage.fromPartial({ name, payload }), watch: false }
  for await (const { networkService: found } of networkServices.find(ctx, query))
    if (found?.name === name) return found
  throw new NsmError(
    'NOT_FOUND',
    `network service ${name} is not found: apply a NetworkService of that name, or correct the name`,
  )
}

async function endpointsOf(
  ctx: Ctx,
  { networkServiceEndpoints }: Registries,
  service: string,
): Promise<NetworkServiceEndpoint[]> {
  const networkServiceEndpoint = EndpointMessage.fromPartial({ networkServiceNames: [service] })
  const all: NetworkServiceEndpoint[] = []
  for await (const response of networkServiceEndpoints.find(ctx, { networkServiceEndpoint, watch: false }))
    if (response.networkServiceEndpoint !== undefined) all.push(response.networkServiceEndpoint)
  return all
}

/** Waits for both of two lookups that run at the same time; when both fail, the first one's reason counts. */
export async function together<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  second.catch(() => undefined)
  return [await first, await second]
}

function missing(count: number, service: string): string {
  return count === 0
    ? `no endpoint of ${service} is registered: start one, or wait for it`
    : `none of the ${count} endpoints of ${service} has the labels that its matches ask for`
}
