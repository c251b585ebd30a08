import { NetworkService, NetworkServiceEndpoint, NetworkServiceLabels } from '@nsm/api/gen/registry.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { whereaboutsLabels } from '@nsm/sdk/elements/client-info.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { sleep } from '@nsm/sdk/sleep.js'
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

/** How often to look whether a service that can't be registered is there already. */
const lookMs = 1_000

/** Registers the services, if wanted, then the endpoint at `url` (wire contract §5.6); tries until it succeeds or the call ends. */
export async function register(
  ctx: Ctx,
  registries: Registries,
  config: RegistrationConfig,
  url: string,
): Promise<NetworkServiceEndpoint> {
  const { serviceNames, payload } = config
  for (const name of config.registerService ? serviceNames : []) {
    await provide(ctx, registries, NetworkService.fromPartial({ name, payload }))
  }
  return registries.networkServiceEndpoints.register(ctx, endpointOf(config, url))
}

/**
 * Registers a service. A registry takes a name from its first owner alone: when that is another replica, or who declared the
 * service, the service is there, which is all that is needed.
 */
async function provide(ctx: Ctx, registries: Registries, service: NetworkService): Promise<void> {
  const [asked, looked] = [new AbortController(), new AbortController()]
  const within = ({ signal }: AbortController): Ctx => ({
    ...ctx,
    signal: AbortSignal.any([ctx.signal, signal]),
  })
  const registered = registries.networkServices.register(within(asked), service)
  const found = appears(within(looked), registries, service.name)
  // Only one of the two is waited for.
  registered.catch(() => undefined)
  found.catch(() => undefined)
  await Promise.race([registered, found])
  asked.abort()
  looked.abort()
}

async function appears(ctx: Ctx, { networkServices }: Registries, name: string): Promise<void> {
  const query = { networkService: NetworkService.fromPartial({ name }), watch: false }
  for (;;) {
    await sleep(ctx, lookMs)
    for await (const { networkService } of networkServices.find(ctx, query)) {
      if (networkService?.name !== name) continue
      ctx.log.info(
        { network_service: name, owner: networkService.pathIds[0] },
        'network service is registered by another',
      )
      return
    }
  }
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
