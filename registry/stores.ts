import { registryServer, type RegistryEntryOptions } from '@nsm/sdk/chains/registry-server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Checks } from '@nsm/sdk/process/checks.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import type { RegistryConfig } from './config.ts'
import type { RegistryMetrics } from './metrics.ts'

export interface ServerOptions extends RegistryEntryOptions {
  readonly policyMasks: readonly string[]
  readonly proxy?: Registries
}

/** Where registrations are kept, and the chains that fit it. */
export interface OpenStores {
  /** Objects by kind. */
  sizes(): Readonly<Record<string, number>>
  server(options: ServerOptions): Registries
  /** Adds what must be true before calls make sense. */
  watch(ready: Checks): void
  close(): void
}

/** Opens the stores that NSM_STORE names. @throws NsmError when there is no way to the API server */
export async function openStores(
  config: RegistryConfig,
  log: Logger,
  metrics: RegistryMetrics,
): Promise<OpenStores> {
  if (config.store === 'memory') return inMemory()
  // Loaded only where it is used: most of a registry in memory would be this.
  const { inKubernetes } = await import('./kubernetes/open.ts')
  return inKubernetes(config, log, { metrics, clock: systemClock })
}

/** Objects by kind, for what counts them. */
export function sizesOf(stores: Record<keyof Registries, { readonly size: number }>): Record<string, number> {
  return {
    [networkServiceKind.what]: stores.networkServices.size,
    [networkServiceEndpointKind.what]: stores.networkServiceEndpoints.size,
  }
}

function inMemory(): OpenStores {
  const stores = {
    networkServices: memoryRegistry(networkServiceKind),
    networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
  }
  return {
    sizes: () => sizesOf(stores),
    server: (options) => registryServer({ ...options, stores }),
    watch: () => undefined,
    close: () => undefined,
  }
}
