import { background } from '../ctx.ts'
import type { Registries } from '../elements/discover.ts'
import {
  registryChain,
  type NetworkServiceElement,
  type NetworkServiceRegistry,
  type RegistryElement,
  type RegistryItem,
} from '../registry-chain.ts'
import { authorizeServer } from '../registry/authorize.ts'
import { begin, type BeginOptions } from '../registry/begin.ts'
import { expire } from '../registry/expire.ts'
import { grpcMetadataServer } from '../registry/grpc-metadata.ts'
import { interdomain } from '../registry/interdomain.ts'
import { networkServiceEndpointKind, networkServiceKind, type RegistryKind } from '../registry/kind.ts'
import { logOutcome, type RegistryOutcome } from '../registry/log-outcome.ts'
import type { Owners } from '../registry/owners.ts'
import { registryPolicies, serverPolicyMasks } from '../registry/policies.ts'
import { setPayload } from '../registry/set-payload.ts'
import { setRegistrationTime } from '../registry/set-registration-time.ts'
import { shareService } from '../registry/share-service.ts'
import { updatePath } from '../registry/update-path.ts'
import { validateNetworkService, validateNetworkServiceEndpoint } from '../registry/validate.ts'
import type { TokenGenerator } from '../tokens.ts'

/** What every registry server needs. */
export interface RegistryEntryOptions {
  readonly tokens: TokenGenerator
  /** NSM_REGISTRY_SERVER_POLICIES. */
  readonly policyMasks?: readonly string[]
  readonly observe?: (outcome: RegistryOutcome) => void
  /** Whose a name is; default what this process has seen. */
  readonly owners?: Owners
}

export interface RegistryServerOptions extends RegistryEntryOptions {
  readonly stores: Registries
  /** Where names of other domains go (NSM_PROXY_REGISTRY_URL). */
  readonly proxy?: Registries
  /** Longest life of a registration that is not refreshed; default 1 min. */
  readonly expirePeriodMs?: number
}

/** The registry's own chains: checks, order, expiry, other domains, then the store. */
export function registryServer(options: RegistryServerOptions): Registries {
  const { stores, proxy, expirePeriodMs } = options
  return {
    networkServices: registryChain(
      [
        ...registryEntry(networkServiceKind, networkServiceChecks(stores.networkServices), options),
        begin(networkServiceKind, forgetful),
        interdomain(networkServiceKind, proxy?.networkServices),
        setPayload(),
      ],
      stores.networkServices,
    ),
    networkServiceEndpoints: registryChain(
      [
        ...registryEntry(networkServiceEndpointKind, [validateNetworkServiceEndpoint()], options),
        begin(networkServiceEndpointKind, forgetful),
        interdomain(networkServiceEndpointKind, proxy?.networkServiceEndpoints),
        expire(expirePeriodMs === undefined ? {} : { periodMs: expirePeriodMs }),
        setRegistrationTime(),
      ],
      stores.networkServiceEndpoints,
    ),
  }
}

/** What a call about network services goes through on its way to `authorize`. */
export function networkServiceChecks(lookup: NetworkServiceRegistry): NetworkServiceElement[] {
  return [validateNetworkService(), shareService(lookup)]
}

/** What a call goes through first in every registry server (§5.4); `checks` come once the path has been moved to this process. */
export function registryEntry<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  checks: readonly RegistryElement<Item, Query, Response>[],
  options: RegistryEntryOptions,
): RegistryElement<Item, Query, Response>[] {
  return [
    logOutcome(kind, options.observe),
    grpcMetadataServer(),
    updatePath(options.tokens),
    ...checks,
    authorizeServer(kind, registryPolicies(options.policyMasks ?? serverPolicyMasks), options.owners),
  ]
}

/** The store asks for no caller: of a hundred thousand registrations no tokens need be kept. */
const forgetful: BeginOptions = { keep: ({ log, clock }) => background({ log, clock }) }
