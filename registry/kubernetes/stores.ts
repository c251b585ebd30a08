import type {
  NetworkService,
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse,
  NetworkServiceQuery,
  NetworkServiceResponse,
} from '@nsm/api/gen/registry.js'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import { contact, type ApiOutcome } from './contact.ts'
import { collectionPath, networkServiceEndpointResource, networkServiceResource } from './resource.ts'
import { kubernetesStore, type KubernetesStore } from './store.ts'

export type { KubernetesStore } from './store.ts'

/** Both stores on one API server. */
export interface KubernetesStores {
  readonly networkServices: KubernetesStore<NetworkService, NetworkServiceQuery, NetworkServiceResponse>
  readonly networkServiceEndpoints: KubernetesStore<
    NetworkServiceEndpoint,
    NetworkServiceEndpointQuery,
    NetworkServiceEndpointResponse
  >
  /** The API server answers, as far as is known. */
  readonly isConnected: boolean
  /** All objects have been loaded once. */
  readonly isLoaded: boolean
  close(): void
}

export interface StoresOptions {
  readonly client: ApiClient
  /** Where registrations are written; looked up are those of all namespaces. */
  readonly namespace: string
  readonly clock: Clock
  readonly log: Logger
  /** Longest life of a registration that is not refreshed. */
  readonly periodMs: number
  /** Only its owner may change or unregister what is registered. */
  readonly isOwned: boolean
  readonly observe?: (outcome: ApiOutcome) => void
  readonly expired?: () => void
}

/** Opens both and begins to load what is there. */
export function kubernetesStores(options: StoresOptions): KubernetesStores {
  const { client, namespace, clock, log, periodMs, observe = () => undefined } = options
  const probePath = `${collectionPath(networkServiceEndpointResource)}?limit=1`
  const api = contact({ client, clock, log, probePath, graceMs: periodMs, observe })
  const common = { ...options, contact: api }
  const networkServiceEndpoints = kubernetesStore(networkServiceEndpointResource, common)
  const count = endpointCount()
  const networkServices = kubernetesStore(networkServiceResource, {
    ...common,
    status: ({ name }) => ({ endpoints: count.of(name) }),
  })
  networkServiceEndpoints.onServed(({ name, networkServiceNames }, deleted) => {
    for (const service of count.set(name, deleted ? [] : networkServiceNames)) networkServices.touch(service)
  })
  log.debug({ namespace }, 'custom resources')
  return {
    networkServices,
    networkServiceEndpoints,
    get isConnected() {
      return !api.isLost
    },
    get isLoaded() {
      return networkServices.isLoaded && networkServiceEndpoints.isLoaded
    },
    close() {
      networkServices.close()
      networkServiceEndpoints.close()
      api.close()
    },
  }
}

/** How many endpoints each service has. */
function endpointCount(): {
  of(service: string): number
  set(name: string, services: readonly string[]): Set<string>
} {
  const services = new Map<string, readonly string[]>()
  const counts = new Map<string, number>()

  function add(service: string, n: 1 | -1): void {
    const now = (counts.get(service) ?? 0) + n
    if (now === 0) counts.delete(service)
    else counts.set(service, now)
  }

  return {
    of: (service) => counts.get(service) ?? 0,
    /** Answers the services whose counts have changed, perhaps. */
    set(name, now) {
      const before = new Set(services.get(name))
      const after = new Set(now)
      for (const service of before) add(service, -1)
      for (const service of after) add(service, 1)
      if (now.length === 0) services.delete(name)
      else services.set(name, now)
      return new Set([...before, ...after].filter((service) => before.has(service) !== after.has(service)))
    },
  }
}
