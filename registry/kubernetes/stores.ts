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
import { endpointCount } from './endpoint-count.ts'
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
  /** For what must not wait behind callers' writes: watches, and asking whether the API server is there. Default `client`. */
  readonly watchClient?: ApiClient
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
  const { client, watchClient = client, clock, log, periodMs, observe = () => undefined } = options
  const probePath = `${collectionPath(networkServiceEndpointResource)}?limit=1`
  const api = contact({ client, asking: watchClient, clock, log, probePath, graceMs: periodMs, observe })
  const count = endpointCount()
  const isLoaded = (): boolean => networkServices.isLoaded && networkServiceEndpoints.isLoaded
  const networkServices = kubernetesStore(networkServiceResource, {
    ...options,
    client: watchClient,
    contact: api,
    status: { isLoaded, more: ({ name }) => ({ endpoints: count.of(name) }) },
  })
  const networkServiceEndpoints = kubernetesStore(networkServiceEndpointResource, {
    ...options,
    client: watchClient,
    contact: api,
    status: { isLoaded, more: () => ({}) },
    served({ name, networkServiceNames }, deleted) {
      for (const service of count.set(name, deleted ? [] : networkServiceNames))
        networkServices.touch(service)
    },
  })
  return {
    networkServices,
    networkServiceEndpoints,
    get isConnected() {
      return !api.outage.isLost
    },
    get isLoaded() {
      return isLoaded()
    },
    close() {
      networkServices.close()
      networkServiceEndpoints.close()
      api.close()
    },
  }
}
