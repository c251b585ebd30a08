import type { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { NsmError } from '../errors.ts'
import type { NetworkServiceElement, NetworkServiceEndpointElement } from '../registry-chain.ts'

/** As long as a DNS name, which is what Kubernetes allows for the objects' names. */
const maxName = 253
const maxServices = 64
const maxUrl = 2048
const maxLabels = 64
/** Key of a Kubernetes label: prefix, slash, name. */
const maxLabelKey = 317
const maxLabelValue = 1024
const maxMatches = 64
const maxRoutes = 64
const maxPathIds = 32
/** SPIFFE-ID §2.3. */
const maxPathId = 2048

/** Refuses network services whose names, matches or selectors are out of bounds, before anything is done with them. */
export function validateNetworkService(): NetworkServiceElement {
  return {
    name: 'validate',
    register: async (ctx, item, next) => next.register(ctx, checkedService(item)),
    unregister: async (ctx, item, next) => next.unregister(ctx, checkedService(item)),
  }
}

/** Refuses endpoints whose names, services, labels or URL are out of bounds, before anything is done with them. */
export function validateNetworkServiceEndpoint(): NetworkServiceEndpointElement {
  return {
    name: 'validate',
    register: async (ctx, item, next) => next.register(ctx, checkedEndpoint(item)),
    unregister: async (ctx, item, next) => next.unregister(ctx, checkedEndpoint(item)),
  }
}

/** Answers it as it is. @throws NsmError INVALID_ARGUMENT that names the field that is out of bounds */
export function checkedService(service: NetworkService): NetworkService {
  checkName('name', service.name)
  checkText('payload', service.payload, maxName)
  checkCount('matches', service.matches.length, maxMatches)
  for (const match of service.matches) {
    checkLabels('source_selector', match.sourceSelector)
    checkCount('routes', match.routes.length, maxRoutes)
    for (const { destinationSelector } of match.routes)
      checkLabels('destination_selector', destinationSelector)
    checkLabels('metadata', match.metadata?.labels ?? {})
  }
  checkPathIds(service.pathIds)
  return service
}

/** Likewise for an endpoint. */
export function checkedEndpoint(endpoint: NetworkServiceEndpoint): NetworkServiceEndpoint {
  checkName('name', endpoint.name)
  checkCount('network_service_names', endpoint.networkServiceNames.length, maxServices)
  for (const name of endpoint.networkServiceNames) checkName('network_service_names', name)
  const labels = Object.entries(endpoint.networkServiceLabels)
  checkCount('network_service_labels', labels.length, maxServices)
  for (const [service, ofService] of labels) {
    checkName('network_service_labels', service)
    checkLabels('network_service_labels', ofService.labels)
  }
  checkText('url', endpoint.url, maxUrl)
  checkPathIds(endpoint.pathIds)
  return endpoint
}

function checkName(field: string, name: string): void {
  if (name === '') throw invalid(field, 'is empty')
  checkText(field, name, maxName)
}

function checkLabels(field: string, labels: Readonly<Record<string, string>>): void {
  const entries = Object.entries(labels)
  checkCount(field, entries.length, maxLabels)
  for (const [key, value] of entries) {
    checkText(field, key, maxLabelKey)
    checkText(field, value, maxLabelValue)
  }
}

function checkPathIds(pathIds: readonly string[]): void {
  checkCount('path_ids', pathIds.length, maxPathIds)
  for (const id of pathIds) checkText('path_ids', id, maxPathId)
}

function checkText(field: string, text: string, max: number): void {
  if (text.length > max)
    throw invalid(field, `has a text of ${text.length} characters, at most ${max} are allowed`)
  if (/\p{Cc}/u.test(text)) throw invalid(field, 'has a control character')
}

function checkCount(field: string, count: number, max: number): void {
  if (count > max) throw invalid(field, `has ${count} entries, at most ${max} are allowed`)
}

function invalid(field: string, what: string): NsmError {
  return new NsmError('INVALID_ARGUMENT', `${field} ${what}`)
}
