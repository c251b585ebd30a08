import type { DescriptorFunctions } from '../descriptors.ts'
import type { Registries } from '../elements/discover.ts'
import { registryChain, type NetworkServiceEndpointRegistry } from '../registry-chain.ts'
import { connect } from '../registry/connect.ts'
import { endpointsWithDescriptors } from '../registry/connect-descriptors.ts'
import { dial } from '../registry/dial.ts'
import { grpcMetadataClient } from '../registry/grpc-metadata.ts'
import type { Dial, Remote } from '../transport/remote.ts'

export interface RemoteRegistriesOptions {
  readonly dial: Dial
  /** `unix:///path` or `tcp://host:port`. */
  readonly url: string
  /** Passes the sockets of endpoints over unix sockets, both ways (§6.4); absent = URLs go as they are. */
  readonly descriptors?: DescriptorFunctions
}

/** Both registries of a remote process, for lookups and as the end of a server's chain: calls go as they are, with the registry path. */
export function remoteRegistries(options: RemoteRegistriesOptions): Registries {
  const { url } = options
  return {
    networkServices: registryChain(
      [grpcMetadataClient(), dial(options.dial, url)],
      connect((remote) => remote.networkServices),
    ),
    networkServiceEndpoints: registryChain(
      [grpcMetadataClient(), dial(options.dial, url)],
      connect(endpointsOf(options.descriptors)),
    ),
  }
}

function endpointsOf(
  descriptors: DescriptorFunctions | undefined,
): (remote: Remote) => NetworkServiceEndpointRegistry {
  return descriptors === undefined
    ? (remote) => remote.networkServiceEndpoints
    : endpointsWithDescriptors(descriptors)
}
