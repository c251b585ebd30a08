import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { connectionOf, type Element } from '../chain.ts'
import { NsmError } from '../errors.ts'
import { withInterface } from './interface-metric.ts'

/** Most preferences that are looked at. */
const maxPreferences = 16

/**
 * Chooses the mechanism of a connection and hands the call to that type's element (wire contract §2.1): the first of the
 * client's preferences that is known and succeeds; on a refresh only the type that was chosen.
 */
export function mechanisms(byType: Readonly<Record<string, Element>>): Element {
  const elementOf = (type: string): Element | undefined =>
    Object.hasOwn(byType, type) ? byType[type] : undefined
  const known = Object.keys(byType).join(', ')

  return {
    name: 'mechanisms',

    async request(ctx, req, next) {
      const { mechanism, path } = connectionOf(req)
      const told = (conn: Connection): Connection => withInterface(conn, 'server', path?.index ?? 0)
      if (mechanism !== undefined) {
        const element = elementOf(mechanism.type)
        if (element === undefined) {
          throw new NsmError(
            'INVALID_ARGUMENT',
            `unsupported mechanism ${quoted(mechanism)}, known are ${known}`,
          )
        }
        return told(await (element.request?.(ctx, req, next) ?? next.request(ctx, req)))
      }
      const faults: NsmError[] = []
      for (const preference of req.mechanismPreferences.slice(0, maxPreferences)) {
        const element = elementOf(preference.type)
        if (element === undefined) continue
        const chosen = choosing(req, preference)
        try {
          return told(await (element.request?.(ctx, chosen, next) ?? next.request(ctx, chosen)))
        } catch (err) {
          faults.push(NsmError.from(err))
          if (ctx.signal.aborted) break
        }
      }
      throw refusal(req, faults, known)
    },

    close(ctx, conn, next) {
      const element = conn.mechanism === undefined ? undefined : elementOf(conn.mechanism.type)
      return element?.close?.(ctx, conn, next) ?? next.close(ctx, conn)
    },
  }
}

function choosing(req: NetworkServiceRequest, mechanism: Mechanism): NetworkServiceRequest {
  return { ...req, connection: { ...connectionOf(req), mechanism } }
}

function refusal(req: NetworkServiceRequest, faults: readonly NsmError[], known: string): NsmError {
  const [first] = faults
  if (first !== undefined && faults.length === 1) return first
  const message = 'cannot support any of the requested mechanism'
  if (first !== undefined) {
    return new NsmError(first.code, `${message}: ${faults.map((fault) => fault.message).join('; ')}`, {
      cause: first,
    })
  }
  const asked = req.mechanismPreferences.slice(0, maxPreferences).map(quoted).join(', ') || 'none'
  return new NsmError('INVALID_ARGUMENT', `${message}: asked for ${asked}, known are ${known}`)
}

function quoted({ type }: Mechanism): string {
  return JSON.stringify(type.slice(0, 40))
}
