import type { DescriptorFunctions } from '../descriptors.ts'
import type { Registries } from '../elements/discover.ts'
import { registryChain, type NetworkServiceEndpointRegistry } from '../registry-chain.ts'
import { connect } from '../registry/connect.ts'
import { endpointsWithDescriptors } from '../registry/connect-descriptors.ts'
import { dial } from '../registry/dial.ts'
import { lookupCache } from '../registry/lookup-cache.ts'
import { networkServiceKind } from '../registry/kind.ts'
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

export interface LookupRegistries extends Registries {
  /** Ends the watches behind the lookups. */
  close(): void
}

/** The same for a process that looks up for each request: network services come from the cache. Endpoints do not: each answer passes their sockets. */
export function lookupRegistries(options: RemoteRegistriesOptions): LookupRegistries {
  const { networkServices, networkServiceEndpoints } = remoteRegistries(options)
  const cache = lookupCache(networkServiceKind)
  return {
    networkServices: registryChain([cache], networkServices),
    networkServiceEndpoints,
    close: () => cache.close(),
  }
}

function endpointsOf(
  descriptors: DescriptorFunctions | undefined,
): (remote: Remote) => NetworkServiceEndpointRegistry {
  return descriptors === undefined
    ? (remote) => remote.networkServiceEndpoints
    : endpointsWithDescriptors(descriptors)
}
