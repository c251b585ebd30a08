import type { Registries } from '../elements/discover.ts'
import { registryChain, type Registry, type RegistryElement, type RegistryItem } from '../registry-chain.ts'
import { authorizeClient } from '../registry/authorize.ts'
import { begin } from '../registry/begin.ts'
import { clientPath } from '../registry/client-path.ts'
import { heal } from '../registry/heal.ts'
import { networkServiceEndpointKind, networkServiceKind, type RegistryKind } from '../registry/kind.ts'
import { clientPolicyMasks, registryPolicies } from '../registry/policies.ts'
import { refresh } from '../registry/refresh.ts'
import { retry, type RetryOptions } from '../registry/retry.ts'
import { remoteRegistries, type RemoteRegistriesOptions } from './remote-registries.ts'

export interface RegistryClientOptions extends RemoteRegistriesOptions {
  /** Ends the watches of `heal`; what is registered stays until it expires. */
  readonly signal: AbortSignal
  /** NSM_REGISTRY_CLIENT_POLICIES. */
  readonly policyMasks?: readonly string[]
  readonly retry?: RetryOptions
}

/**
 * Registries for a process that registers something of its own (§5.6): calls are repeated until they succeed, registrations are kept
 * alive, and made again when the registry has lost them, until Unregister.
 */
export function registryClient(options: RegistryClientOptions): Registries {
  const remote = remoteRegistries(options)
  return {
    networkServices: keeping(networkServiceKind, remote.networkServices, options),
    networkServiceEndpoints: keeping(networkServiceEndpointKind, remote.networkServiceEndpoints, options),
  }
}

function keeping<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  remote: Registry<Item, Query, Response>,
  options: RegistryClientOptions,
): Registry<Item, Query, Response> {
  const elements: RegistryElement<Item, Query, Response>[] = [
    begin(kind),
    clientPath(),
    retry(options.retry),
    heal(kind, { signal: options.signal }),
    refresh(kind),
    authorizeClient(kind, registryPolicies(options.policyMasks ?? clientPolicyMasks)),
  ]
  return registryChain(elements, remote)
}
