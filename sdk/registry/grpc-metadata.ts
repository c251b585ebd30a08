import { valueOf, withValue, type Ctx } from '../ctx.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import { incomingCall, newCall, outgoingCall, pathHeader } from '../transport/call.ts'
import {
  decodeRegistryPath,
  emptyPath,
  encodeRegistryPath,
  registryPath,
  type PathCell,
} from './registry-path.ts'

/**
 * Takes the registry path of a served Register or Unregister from its metadata and sends it back with the answer (§3.4).
 * A call that comes without one goes on with an empty path and gets none back.
 */
export function grpcMetadataServer<Item extends RegistryItem, Query, Response>(): RegistryElement<
  Item,
  Query,
  Response
> {
  async function served<T>(ctx: Ctx, run: (ctx: Ctx) => Promise<T>): Promise<T> {
    const call = valueOf(ctx, incomingCall)
    const header = call?.requestHeaders.get(pathHeader)
    const cell: PathCell = { path: header === undefined ? emptyPath : decodeRegistryPath(header) }
    const answer = await run(withValue(ctx, registryPath, cell))
    if (header !== undefined) call?.responseHeaders.set(pathHeader, encodeRegistryPath(cell.path))
    return answer
  }

  return {
    name: 'grpcmetadata server',
    register: async (ctx, item, next) => served(ctx, (inner) => next.register(inner, item)),
    unregister: async (ctx, item, next) => served(ctx, (inner) => next.unregister(inner, item)),
  }
}

/**
 * Sends the registry path with Register and Unregister and replaces it by the one in the answer (§3.4).
 * An answer without one makes the path empty, so that policies refuse it.
 */
export function grpcMetadataClient<Item extends RegistryItem, Query, Response>(): RegistryElement<
  Item,
  Query,
  Response
> {
  async function called<T>(ctx: Ctx, run: (ctx: Ctx) => Promise<T>): Promise<T> {
    const cell = valueOf(ctx, registryPath) ?? { path: emptyPath }
    const call = newCall()
    call.requestHeaders.set(pathHeader, encodeRegistryPath(cell.path))
    const answer = await run(withValue(ctx, outgoingCall, call))
    const header = call.responseHeaders.get(pathHeader)
    cell.path = header === undefined ? emptyPath : decodeRegistryPath(header)
    if (call.answeredBy !== undefined) cell.answeredBy = call.answeredBy
    return answer
  }

  return {
    name: 'grpcmetadata client',
    register: async (ctx, item, next) => called(ctx, (inner) => next.register(inner, item)),
    unregister: async (ctx, item, next) => called(ctx, (inner) => next.unregister(inner, item)),
  }
}
