import type { DescriptorFunctions } from '../descriptors.ts'
import { registryChain, type NetworkServiceEndpointRegistry } from '../registry-chain.ts'
import type { Remote } from '../transport/remote.ts'
import { recvFdClient } from './recv-fd.ts'
import { sendFdClient } from './send-fd.ts'

/** A remote's endpoint registry with descriptors passed both ways: the `api` of a `connect` over a unix socket. */
export function endpointsWithDescriptors(
  native: DescriptorFunctions,
): (remote: Remote) => NetworkServiceEndpointRegistry {
  return ({ peer, networkServiceEndpoints }) =>
    registryChain([recvFdClient(native, peer), sendFdClient(native, peer)], networkServiceEndpoints)
}
