import type { Ctx } from '../ctx.ts'
import type { Registries } from '../elements/discover.ts'
import type { Labels } from '../match/selectors.ts'
import { registryChain, type NetworkServiceEndpointElement } from '../registry-chain.ts'
import { begin } from '../registry/begin.ts'
import { clientInfo } from '../registry/client-info.ts'
import { expire } from '../registry/expire.ts'
import { networkServiceEndpointKind, networkServiceKind } from '../registry/kind.ts'
import { lookupCache } from '../registry/lookup-cache.ts'
import { localBypass } from '../registry/local-bypass.ts'
import { validateNetworkServiceEndpoint } from '../registry/validate.ts'
import type { Dial } from '../transport/remote.ts'
import { networkServiceChecks, registryEntry, type RegistryEntryOptions } from './registry-server.ts'
import { remoteRegistries } from './remote-registries.ts'

export interface RegistryNsmgrOptions extends RegistryEntryOptions {
  readonly dial: Dial
  /** NSM_REGISTRY_URL. */
  readonly registryUrl: string
  /** URL under which other nodes reach this nsmgr, and under which it registers endpoints. */
  readonly publicUrl: string
  /** `nodeName`, `podName`, `clusterName`. */
  readonly clientInfo: Labels
  /** What turns passed descriptors into URLs and back: the server halves of recvfd and sendfd. */
  readonly descriptors?: readonly NetworkServiceEndpointElement[]
}

export interface NsmgrRegistries {
  /** For callers of this nsmgr. */
  readonly served: Registries
  /** For this nsmgr's own lookups: endpoints of this node have their real URLs. */
  readonly local: Registries
  /** Asks the registry for one service; rejects when it does not answer. */
  ask(ctx: Ctx, service: string): Promise<void>
  /** Ends the watches behind the lookups. */
  close(): void
}

/** The registry side of an nsmgr, in front of the registry for its node (§5.4). */
export function registryNsmgr(options: RegistryNsmgrOptions): NsmgrRegistries {
  const remote = remoteRegistries({ dial: options.dial, url: options.registryUrl })
  const services = lookupCache(networkServiceKind)
  const endpoints = lookupCache(networkServiceEndpointKind)
  const local: Registries = {
    networkServices: registryChain([services], remote.networkServices),
    networkServiceEndpoints: registryChain(
      [localBypass(options.publicUrl), endpoints],
      remote.networkServiceEndpoints,
    ),
  }
  const served: Registries = {
    networkServices: registryChain(
      registryEntry(networkServiceKind, networkServiceChecks(remote.networkServices), options),
      local.networkServices,
    ),
    networkServiceEndpoints: registryChain(
      [
        ...registryEntry(networkServiceEndpointKind, [validateNetworkServiceEndpoint()], options),
        begin(networkServiceEndpointKind),
        clientInfo(options.clientInfo),
        expire(),
        ...(options.descriptors ?? []),
      ],
      local.networkServiceEndpoints,
    ),
  }
  return {
    served,
    local,
    async ask(ctx, service) {
      const query = networkServiceKind.queryByName(service, false)
      for await (const _ of remote.networkServices.find(ctx, query)) return
    },
    close() {
      services.close()
      endpoints.close()
    },
  }
}
