import { NetworkService, NetworkServiceEndpoint, NetworkServiceLabels } from '@nsm/api/gen/registry.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { whereaboutsLabels } from '@nsm/sdk/elements/client-info.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import type { PlacementConfig } from '@nsm/sdk/process/common-variables.js'

/** What an endpoint tells the registry. */
export interface RegistrationConfig extends PlacementConfig {
  readonly name: string
  readonly serviceNames: readonly string[]
  readonly payload: string
  /** For every service. */
  readonly labels: Readonly<Record<string, string>>
  readonly registerService: boolean
}

/** Registers the services, if wanted, then the endpoint at `url` (wire contract §5.6); tries until it succeeds or the call ends. */
export async function register(
  ctx: Ctx,
  registries: Registries,
  config: RegistrationConfig,
  url: string,
): Promise<NetworkServiceEndpoint> {
  const { serviceNames, payload } = config
  for (const name of config.registerService ? serviceNames : []) {
    await registries.networkServices.register(ctx, NetworkService.fromPartial({ name, payload }))
  }
  return registries.networkServiceEndpoints.register(ctx, endpointOf(config, url))
}

function endpointOf(config: RegistrationConfig, url: string): NetworkServiceEndpoint {
  const labels = { ...whereaboutsLabels(config), ...config.labels }
  const labelled = config.serviceNames.map((name) => [name, NetworkServiceLabels.fromPartial({ labels })])
  return NetworkServiceEndpoint.fromPartial({
    name: config.name,
    url,
    networkServiceNames: [...config.serviceNames],
    networkServiceLabels: Object.fromEntries(labelled),
  })
}
