import type { Match, NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { expandTemplate } from './template.ts'

export type Labels = Readonly<Record<string, string>>

/** What a connection is matched by. */
export interface MatchInput {
  /** Labels of the connection; also the data of templates in selectors. */
  readonly labels: Labels
  /** Milliseconds since the epoch; endpoints that expired by then do not count. */
  readonly now: number
}

/** The endpoints of `service` that a connection with these labels may use, in the order of §5.3; one hit by two routes is there twice. */
export function matchEndpoints(
  input: MatchInput,
  service: NetworkService,
  endpoints: readonly NetworkServiceEndpoint[],
): NetworkServiceEndpoint[] {
  const live = endpoints.filter((endpoint) => !isExpired(endpoint, input.now))
  if (service.matches.length === 0) return live
  for (const match of service.matches) {
    if (!isSubset(input.labels, match.sourceSelector, input.labels)) continue
    const found = routed(match, service.name, live, input.labels)
    if (found.length > 0) return found
    if (match.fallthrough) continue
    return match.metadata !== undefined && match.routes.length === 0 ? live : found
  }
  return []
}

function routed(
  match: Match,
  service: string,
  endpoints: readonly NetworkServiceEndpoint[],
  data: Labels,
): NetworkServiceEndpoint[] {
  return match.routes.flatMap((route) =>
    endpoints.filter((endpoint) =>
      isSubset(serviceLabels(endpoint, service), route.destinationSelector, data),
    ),
  )
}

/** Whether each entry of `selector` is in `labels`, literally or after expansion over `data`; an absent label counts as "" (§5.3). */
export function isSubset(labels: Labels, selector: Labels, data: Labels): boolean {
  const wanted = Object.entries(selector)
  if (Object.keys(labels).length < wanted.length) return false
  return wanted.every(([key, value]) => {
    const actual = Object.hasOwn(labels, key) ? labels[key] : ''
    return actual === value || actual === expandTemplate(value, data)
  })
}

/** The labels that an endpoint has under one of its services. */
export function serviceLabels(endpoint: NetworkServiceEndpoint, service: string): Labels {
  const all = endpoint.networkServiceLabels
  return (Object.hasOwn(all, service) ? all[service]?.labels : undefined) ?? {}
}

/** Whether the endpoint's life is over at `now`; one without expiration time never ends. */
export function isExpired(endpoint: NetworkServiceEndpoint, now: number): boolean {
  return endpoint.expirationTime !== undefined && !(endpoint.expirationTime.getTime() > now)
}
