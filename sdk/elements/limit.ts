import { connectionOf, type Element } from '../chain.ts'
import type { Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'

export interface LimitOptions {
  /** Calls of one SPIFFE ID that may run at once; default 1,024. */
  readonly maxCalls?: number
  /** Connections that one SPIFFE ID may begin as their client; default 1,024. Hops in between are not limited. */
  readonly maxConnections?: number
}

/**
 * Keeps one caller from taking what is there for all. @throws NsmError RESOURCE_EXHAUSTED
 *
 * Stands behind `begin`, which closes connections without their caller, and behind the policies, which prove who calls.
 */
export function limit(options: LimitOptions = {}): Element {
  const { maxCalls = 1_024, maxConnections = 1_024 } = options
  const calls = new Map<string, number>()
  const connections = new Map<string, number>()
  const owners = new Map<string, string>()

  async function counted<T>(ctx: Ctx, call: () => Promise<T>): Promise<T> {
    const caller = ctx.peer?.spiffeId
    if (caller === undefined) return call()
    if (add(calls, caller, 1) > maxCalls) {
      add(calls, caller, -1)
      throw new NsmError('RESOURCE_EXHAUSTED', `${caller} has ${maxCalls} calls running already`)
    }
    try {
      return await call()
    } finally {
      add(calls, caller, -1)
    }
  }

  function forget(id: string): void {
    const owner = owners.get(id)
    if (owner !== undefined) add(connections, owner, -1)
    owners.delete(id)
  }

  return {
    name: 'limit',

    request: (ctx, req, next) =>
      counted(ctx, async () => {
        const { id, path } = connectionOf(req)
        const client = path?.index === 1 ? ctx.peer?.spiffeId : undefined
        if (client === undefined || owners.has(id)) return next.request(ctx, req)
        if ((connections.get(client) ?? 0) >= maxConnections) {
          throw new NsmError('RESOURCE_EXHAUSTED', `${client} has ${maxConnections} connections already`)
        }
        owners.set(id, client)
        add(connections, client, 1)
        try {
          return await next.request(ctx, req)
        } catch (err) {
          forget(id)
          throw err
        }
      }),

    close: (ctx, conn, next) =>
      counted(ctx, async () => {
        try {
          await next.close(ctx, conn)
        } finally {
          forget(conn.id)
        }
      }),
  }
}

/** The new count; one that is down to nothing takes no place. */
function add(counts: Map<string, number>, name: string, by: number): number {
  const count = (counts.get(name) ?? 0) + by
  if (count > 0) counts.set(name, count)
  else counts.delete(name)
  return count
}
