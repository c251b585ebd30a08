import type {
  NetworkServiceEndpoint,
  NetworkServiceEndpointQuery,
  NetworkServiceEndpointResponse,
} from '@nsm/api/gen/registry.js'
import {
  networkServiceChecks,
  registryEntry,
  type RegistryEntryOptions,
} from '@nsm/sdk/chains/registry-server.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { interdomain } from '@nsm/sdk/registry/interdomain.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { limitLife } from '@nsm/sdk/registry/limit-life.js'
import { setPayload } from '@nsm/sdk/registry/set-payload.js'
import { setRegistrationTime } from '@nsm/sdk/registry/set-registration-time.js'
import { validateNetworkServiceEndpoint } from '@nsm/sdk/registry/validate.js'
import { contested } from './contested.ts'
import { inTurn } from './in-turn.ts'
import { storedOwners } from './owners.ts'
import type { KubernetesStores } from './stores.ts'

export interface ChainOptions extends RegistryEntryOptions {
  readonly stores: KubernetesStores
  /** Where names of other domains go (NSM_PROXY_REGISTRY_URL). */
  readonly proxy?: Registries
  /** Longest life of a registration that is not refreshed. */
  readonly periodMs: number
}

/** The registry's own chains for stores that other replicas share: nothing is decided by what this process remembers. */
export function sharedRegistryServer(options: ChainOptions): Registries {
  const { stores, proxy, periodMs } = options
  const { networkServices, networkServiceEndpoints } = stores
  const endpointChecks = [
    validateNetworkServiceEndpoint(),
    contested<NetworkServiceEndpoint, NetworkServiceEndpointQuery, NetworkServiceEndpointResponse>((name) =>
      networkServiceEndpoints.contest(name),
    ),
  ]
  return {
    networkServices: registryChain(
      [
        ...registryEntry(networkServiceKind, networkServiceChecks(networkServices), {
          ...options,
          owners: storedOwners((name) => networkServices.ownerOf(name)),
        }),
        inTurn(),
        interdomain(networkServiceKind, proxy?.networkServices),
        setPayload(),
      ],
      networkServices,
    ),
    networkServiceEndpoints: registryChain(
      [
        ...registryEntry(networkServiceEndpointKind, endpointChecks, {
          ...options,
          owners: storedOwners((name) => networkServiceEndpoints.ownerOf(name)),
        }),
        inTurn(),
        interdomain(networkServiceEndpointKind, proxy?.networkServiceEndpoints),
        limitLife({ periodMs }),
        setRegistrationTime((name) => networkServiceEndpoints.living(name)?.initialRegistrationTime),
      ],
      networkServiceEndpoints,
    ),
  }
}
