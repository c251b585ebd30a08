import type { Connection, ConnectionEvent, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import type { Ctx } from './ctx.ts'
import { NsmError } from './errors.ts'

/** Something that can answer NetworkService calls: a whole chain, or a client to a remote one. */
export interface NetworkService {
  request(ctx: Ctx, req: NetworkServiceRequest): Promise<Connection>
  close(ctx: Ctx, conn: Connection): Promise<void>
}

/** One link of a chain. A method left out passes straight through to `next`. */
export interface Element {
  readonly name: string
  request?(ctx: Ctx, req: NetworkServiceRequest, next: NetworkService): Promise<Connection>
  close?(ctx: Ctx, conn: Connection, next: NetworkService): Promise<void>
}

/** Something that tells what happens to connections, for ever: the first event is INITIAL_STATE_TRANSFER, at once (§4.4). */
export interface ConnectionMonitor {
  monitor(ctx: Ctx, selector: MonitorScopeSelector): AsyncIterable<ConnectionEvent>
}

/** Ends every chain: answers the request's own connection. */
export const tail: NetworkService = {
  request: async (_ctx, req) => connectionOf(req),
  close: async () => undefined,
}

/** Composes elements into a service; the first element sees a call first. */
export function chain(elements: readonly Element[], end: NetworkService = tail): NetworkService {
  return elements.reduceRight<NetworkService>(link, end)
}

/** Composes elements into one, so that a chain can be a part of a chain. */
export function group(name: string, elements: readonly Element[]): Element {
  return {
    name,
    request: (ctx, req, next) => chain(elements, next).request(ctx, req),
    close: (ctx, conn, next) => chain(elements, next).close(ctx, conn),
  }
}

/** The request's connection. @throws NsmError INVALID_ARGUMENT when there is none. */
export function connectionOf(req: NetworkServiceRequest): Connection {
  if (req.connection === undefined) throw new NsmError('INVALID_ARGUMENT', 'request has no connection')
  return req.connection
}

function link(next: NetworkService, element: Element): NetworkService {
  return {
    request: (ctx, req) => element.request?.(ctx, req, next) ?? next.request(ctx, req),
    close: (ctx, conn) => element.close?.(ctx, conn, next) ?? next.close(ctx, conn),
  }
}
