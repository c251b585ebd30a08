import { NetworkServiceLabels } from '@nsm/api/gen/registry.js'
import { serviceLabels, type Labels } from '../match/selectors.ts'
import type { NetworkServiceEndpointElement } from '../registry-chain.ts'

/** Adds what is known about this process (`nodeName`, `podName`, `clusterName`) to the labels of every service that an endpoint registers; labels that are there stay (§5.4). */
export function clientInfo(info: Labels): NetworkServiceEndpointElement {
  return {
    name: 'clientinfo',
    register(ctx, endpoint, next) {
      const labelled = endpoint.networkServiceNames.map((service) => [
        service,
        NetworkServiceLabels.fromPartial({ labels: { ...info, ...serviceLabels(endpoint, service) } }),
      ])
      const networkServiceLabels = { ...endpoint.networkServiceLabels, ...Object.fromEntries(labelled) }
      return next.register(ctx, { ...endpoint, networkServiceLabels })
    },
  }
}
