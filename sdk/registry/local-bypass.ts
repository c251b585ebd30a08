import type { NetworkServiceEndpoint, NetworkServiceEndpointResponse } from '@nsm/api/gen/registry.js'
import { NsmError } from '../errors.ts'
import type { NetworkServiceEndpointElement } from '../registry-chain.ts'

/**
 * Registers the endpoints of this node with the nsmgr's own public URL, so that other nodes come to the nsmgr, and tells callers
 * on this node the real ones (§5.4). Endpoints under that URL that this nsmgr does not know (any more) are not told at all.
 */
export function localBypass(publicUrl: string): NetworkServiceEndpointElement {
  const urls = new Map<string, string>()

  function local(response: NetworkServiceEndpointResponse): NetworkServiceEndpointResponse | undefined {
    const endpoint = response.networkServiceEndpoint
    if (endpoint === undefined || endpoint.url !== publicUrl) return response
    const url = urls.get(endpoint.name)
    if (url !== undefined) return { ...response, networkServiceEndpoint: { ...endpoint, url } }
    return response.deleted ? response : undefined
  }

  return {
    name: 'localbypass',

    async register(ctx, endpoint, next) {
      const { name, url } = endpoint
      if (url === '')
        throw new NsmError('INVALID_ARGUMENT', `url of network service endpoint ${name} is empty`)
      const before = urls.get(name)
      // Known before the registry knows it: its watchers on this node may hear of it before the answer is here.
      urls.set(name, url)
      try {
        const answer = await next.register(ctx, { ...endpoint, url: publicUrl })
        return { ...answer, url }
      } catch (err) {
        if (before === undefined) urls.delete(name)
        else urls.set(name, before)
        throw err
      }
    },

    async *find(ctx, query, next) {
      for await (const response of next.find(ctx, query)) {
        const told = local(response)
        if (told !== undefined) yield told
      }
    },

    async unregister(ctx, endpoint: NetworkServiceEndpoint, next) {
      try {
        await next.unregister(ctx, { ...endpoint, url: publicUrl })
      } finally {
        // The socket behind it is closed in any case, and its number may soon be another endpoint's.
        urls.delete(endpoint.name)
      }
    },
  }
}
