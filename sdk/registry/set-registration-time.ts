import type { NetworkServiceEndpointElement } from '../registry-chain.ts'

/**
 * Tells when an endpoint was registered first: what its client says, so that it survives a restart of the registry, else now;
 * unchanged until it is unregistered (§5.5). A time that is none or lies ahead counts as now. `stored` tells the time of what is
 * registered, where others register too; default what went through here.
 */
export function setRegistrationTime(
  stored?: (name: string) => Date | undefined,
): NetworkServiceEndpointElement {
  const times = new Map<string, Date>()
  const before = stored ?? ((name: string): Date | undefined => times.get(name))

  return {
    name: 'setregistrationtime',

    async register(ctx, endpoint, next) {
      const now = ctx.clock.now()
      const told = endpoint.initialRegistrationTime
      const initialRegistrationTime =
        before(endpoint.name) ?? (told !== undefined && told.getTime() <= now ? told : new Date(now))
      const answer = await next.register(ctx, { ...endpoint, initialRegistrationTime })
      if (stored === undefined) times.set(endpoint.name, initialRegistrationTime)
      return answer
    },

    async unregister(ctx, endpoint, next) {
      await next.unregister(ctx, endpoint)
      times.delete(endpoint.name)
    },
  }
}
