import type { ConnectionMonitor, NetworkService } from '../chain.ts'
import type { Ctx } from '../ctx.ts'
import type { NetworkServiceEndpointRegistry, NetworkServiceRegistry, Registry } from '../registry-chain.ts'
import {
  closeMethod,
  monitorMethod,
  networkServiceEndpointsMethods,
  networkServicesMethods,
  requestMethod,
  type Method,
  type RegistryMethods,
} from './methods.ts'

/** Makes RPCs on one session. */
export interface Caller {
  unary<Request, Response>(ctx: Ctx, method: Method<Request, Response>, request: Request): Promise<Response>
  stream<Request, Response>(
    ctx: Ctx,
    method: Method<Request, Response>,
    request: Request,
  ): AsyncIterable<Response>
}

/** The services that a peer may serve, as our own interfaces. */
export interface RemoteServices extends NetworkService, ConnectionMonitor {
  readonly networkServices: NetworkServiceRegistry
  readonly networkServiceEndpoints: NetworkServiceEndpointRegistry
}

export function remoteServices(caller: Caller): RemoteServices {
  return {
    request: (ctx, req) => caller.unary(ctx, requestMethod, req),
    async close(ctx, conn) {
      await caller.unary(ctx, closeMethod, conn)
    },
    monitor: (ctx, selector) => caller.stream(ctx, monitorMethod, selector),
    networkServices: remoteRegistry(caller, networkServicesMethods),
    networkServiceEndpoints: remoteRegistry(caller, networkServiceEndpointsMethods),
  }
}

function remoteRegistry<Item, Query, Response>(
  caller: Caller,
  methods: RegistryMethods<Item, Query, Response>,
): Registry<Item, Query, Response> {
  return {
    register: (ctx, item) => caller.unary(ctx, methods.register, item),
    find: (ctx, query) => caller.stream(ctx, methods.find, query),
    async unregister(ctx, item) {
      await caller.unary(ctx, methods.unregister, item)
    },
  }
}
