import { isDeepStrictEqual } from 'node:util'
import type { Match, NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { serviceLabels } from '../match/selectors.ts'

/** Whether a service fits a query's pattern: name and payload equal or empty, matches empty or deeply equal (§5.3). */
export function matchesNetworkService(pattern: NetworkService, service: NetworkService): boolean {
  return (
    (pattern.name === '' || pattern.name === service.name) &&
    (pattern.payload === '' || pattern.payload === service.payload) &&
    (pattern.matches.length === 0 || isDeepStrictEqual(known(pattern.matches), known(service.matches)))
  )
}

/**
 * Whether an endpoint fits a query's pattern (§5.3): name equal or empty, every given service and label there, url a
 * part of the endpoint's, expiration time absent or of the same second.
 */
export function matchesNetworkServiceEndpoint(
  pattern: NetworkServiceEndpoint,
  endpoint: NetworkServiceEndpoint,
): boolean {
  return (
    (pattern.name === '' || pattern.name === endpoint.name) &&
    endpoint.url.includes(pattern.url) &&
    pattern.networkServiceNames.every((name) => endpoint.networkServiceNames.includes(name)) &&
    sameSecond(pattern.expirationTime, endpoint.expirationTime) &&
    containsLabels(pattern, endpoint)
  )
}

function sameSecond(wanted: Date | undefined, actual: Date | undefined): boolean {
  if (wanted === undefined) return true
  return actual !== undefined && Math.floor(wanted.getTime() / 1000) === Math.floor(actual.getTime() / 1000)
}

function containsLabels(pattern: NetworkServiceEndpoint, endpoint: NetworkServiceEndpoint): boolean {
  return Object.entries(pattern.networkServiceLabels).every(([service, { labels }]) => {
    const actual = serviceLabels(endpoint, service)
    return Object.entries(labels).every(([key, value]) => Object.hasOwn(actual, key) && actual[key] === value)
  })
}

/** Without what a newer schema may have added, which upstream does not compare either. */
function known(matches: readonly Match[]): unknown {
  return matches.map((match) => ({
    sourceSelector: { ...match.sourceSelector },
    routes: match.routes.map((route) => ({
      selector: { ...route.destinationSelector },
      weight: route.weight,
    })),
    fallthrough: match.fallthrough,
    metadata: match.metadata === undefined ? undefined : { ...match.metadata.labels },
  }))
}
