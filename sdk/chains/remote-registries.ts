import type { Registries } from '../elements/discover.ts'
import {
  registryChain,
  type NetworkServiceElement,
  type NetworkServiceEndpointElement,
} from '../registry-chain.ts'
import { connect } from '../registry/connect.ts'
import { dial } from '../registry/dial.ts'
import { grpcMetadataClient } from '../registry/grpc-metadata.ts'
import type { Dial } from '../transport/remote.ts'

export interface RemoteRegistriesOptions {
  readonly dial: Dial
  /** `unix:///path` or `tcp://host:port`. */
  readonly url: string
  /** What is done on the way out, with the session at hand (`remoteOfCall` of `registry/dial.ts`): descriptors, for example. */
  readonly networkServiceElements?: readonly NetworkServiceElement[]
  readonly networkServiceEndpointElements?: readonly NetworkServiceEndpointElement[]
}

/** Both registries of a remote process, for lookups and as the end of a server's chain: calls go as they are, with the registry path. */
export function remoteRegistries(options: RemoteRegistriesOptions): Registries {
  const { url, networkServiceElements = [], networkServiceEndpointElements = [] } = options
  return {
    networkServices: registryChain(
      [grpcMetadataClient(), dial(options.dial, url), ...networkServiceElements],
      connect((remote) => remote.networkServices),
    ),
    networkServiceEndpoints: registryChain(
      [grpcMetadataClient(), dial(options.dial, url), ...networkServiceEndpointElements],
      connect((remote) => remote.networkServiceEndpoints),
    ),
  }
}
