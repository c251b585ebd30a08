import type { HealthCheckResponse } from '@nsm/api/gen/health.js'
import { Empty } from '@nsm/api/gen/google/protobuf/empty.js'
import type { ConnectionMonitor, NetworkService } from '../chain.ts'
import type { Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { NetworkServiceEndpointRegistry, NetworkServiceRegistry, Registry } from '../registry-chain.ts'
import type { Health } from './health.ts'
import {
  closeMethod,
  healthCheckMethod,
  healthWatchMethod,
  monitorMethod,
  networkServiceEndpointsMethods,
  networkServicesMethods,
  requestMethod,
  type Codec,
  type Method,
  type RegistryMethods,
} from './methods.ts'
import type { ServedMethod } from './server-session.ts'

/** What a process serves; a service left out answers UNIMPLEMENTED. */
export interface Services {
  readonly networkService?: NetworkService | undefined
  readonly monitor?: ConnectionMonitor | undefined
  readonly networkServices?: NetworkServiceRegistry | undefined
  readonly networkServiceEndpoints?: NetworkServiceEndpointRegistry | undefined
  readonly health?: Health | undefined
}

type Entry = readonly [path: string, method: ServedMethod]

/** The methods of all given services, by path. */
export function servedMethods(services: Services): ReadonlyMap<string, ServedMethod> {
  const { networkService, monitor, networkServices, networkServiceEndpoints, health } = services
  return new Map([
    ...(networkService === undefined ? [] : networkServiceEntries(networkService)),
    ...(monitor === undefined
      ? []
      : [stream(monitorMethod, (ctx, selector) => monitor.monitor(ctx, selector))]),
    ...(networkServices === undefined ? [] : registryEntries(networkServicesMethods, networkServices)),
    ...(networkServiceEndpoints === undefined
      ? []
      : registryEntries(networkServiceEndpointsMethods, networkServiceEndpoints)),
    ...(health === undefined ? [] : healthEntries(health)),
  ])
}

function networkServiceEntries(service: NetworkService): Entry[] {
  return [
    unary(requestMethod, (ctx, req) => service.request(ctx, req)),
    unary(closeMethod, (ctx, conn) => emptyAfter(service.close(ctx, conn))),
  ]
}

function registryEntries<Item, Query, Response>(
  methods: RegistryMethods<Item, Query, Response>,
  registry: Registry<Item, Query, Response>,
): Entry[] {
  return [
    unary(methods.register, (ctx, item) => registry.register(ctx, item)),
    stream(methods.find, (ctx, query) => registry.find(ctx, query)),
    unary(methods.unregister, (ctx, item) => emptyAfter(registry.unregister(ctx, item))),
  ]
}

function healthEntries(health: Health): Entry[] {
  const check = async (service: string): Promise<HealthCheckResponse> => {
    const status = health.status(service)
    if (status === undefined) throw new NsmError('NOT_FOUND', `service ${service} is not known here`)
    return { status }
  }
  return [
    unary(healthCheckMethod, (_ctx, { service }) => check(service)),
    stream(healthWatchMethod, (ctx, { service }) => health.watch(ctx, service)),
  ]
}

function unary<Request, Response>(
  method: Method<Request, Response>,
  handle: (ctx: Ctx, request: Request) => Promise<Response>,
): Entry {
  const serve = async (ctx: Ctx, bytes: Buffer): Promise<Uint8Array> =>
    method.response.encode(await handle(ctx, decoded(method, bytes))).finish()
  return [method.path, { kind: 'unary', handle: serve }]
}

function stream<Request, Response>(
  method: Method<Request, Response>,
  handle: (ctx: Ctx, request: Request) => AsyncIterable<Response>,
): Entry {
  const serve = (ctx: Ctx, bytes: Buffer): AsyncIterable<Uint8Array> =>
    encoded(handle(ctx, decoded(method, bytes)), method.response)
  return [method.path, { kind: 'stream', handle: serve }]
}

/** Passes `return` straight on, which an async generator would hold back until its pending `next` has settled. */
function encoded<T>(items: AsyncIterable<T>, codec: Codec<T>): AsyncIterable<Uint8Array> {
  const bytesOf = (result: IteratorResult<T>): IteratorResult<Uint8Array> =>
    result.done === true
      ? { done: true, value: undefined }
      : { done: false, value: codec.encode(result.value).finish() }
  return {
    [Symbol.asyncIterator]() {
      const iterator = items[Symbol.asyncIterator]()
      return {
        next: async () => bytesOf(await iterator.next()),
        async return() {
          await iterator.return?.()
          return { done: true, value: undefined }
        },
      }
    },
  }
}

function decoded<Request>(method: Method<Request, unknown>, bytes: Buffer): Request {
  try {
    return method.request.decode(bytes)
  } catch (cause) {
    throw new NsmError('INVALID_ARGUMENT', `request of ${method.path} is not readable as protobuf`, { cause })
  }
}

async function emptyAfter(work: Promise<void>): Promise<Empty> {
  await work
  return Empty.fromPartial({})
}
