import type { NetworkService } from '@nsm/api/gen/registry.js'
import { NsmError } from '../errors.ts'
import type { NetworkServiceElement, NetworkServiceRegistry } from '../registry-chain.ts'
import { networkServiceKind } from './kind.ts'
import { matchesNetworkService } from './query.ts'

/**
 * Lets a service that belongs to somebody else be registered again by who wants nothing new of it: every replica of an endpoint
 * registers its service (§5.6), and only one can own it. `lookup` tells what is registered; nothing changes there. Goes before `authorize`.
 */
export function shareService(lookup: NetworkServiceRegistry): NetworkServiceElement {
  return {
    name: 'shareservice',
    async register(ctx, service, next) {
      try {
        return await next.register(ctx, service)
      } catch (reason) {
        if (NsmError.from(reason).code !== 'PERMISSION_DENIED') throw reason
        const query = networkServiceKind.queryByName(service.name, false)
        for await (const { networkService: known } of lookup.find(ctx, query))
          if (known !== undefined && isSame(service, known)) return { ...known, pathIds: service.pathIds }
        throw reason
      }
    },
  }
}

/** What is left empty asks for nothing. */
function isSame(wanted: NetworkService, known: NetworkService): boolean {
  return wanted.name === known.name && matchesNetworkService(wanted, known)
}
