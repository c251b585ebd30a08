import { isDeepStrictEqual } from 'node:util'
import { State, type Connection, type Path } from '@nsm/api/gen/connection.js'
import { ConnectionContext } from '@nsm/api/gen/connectioncontext.js'

/**
 * What a client half sends when its caller asks again for a connection that it knows (§4.2): the stored one,
 * except for what the caller changed since `returned`, the answer it got last.
 *
 * The path up to the own segment is always the caller's, since it has the newest tokens; behind it the stored one, which came from there.
 */
export function mergeConnection(returned: Connection, requested: Connection, stored: Connection): Connection {
  const path = mergePath(requested.path, stored.path)
  if (requested.state === State.RESELECT_REQUESTED) return { ...requested, path }
  return {
    ...requested,
    path,
    networkService: changed(returned, requested, stored, 'networkService'),
    networkServiceEndpointName: changed(returned, requested, stored, 'networkServiceEndpointName'),
    labels: changed(returned, requested, stored, 'labels'),
    payload: changed(returned, requested, stored, 'payload'),
    mechanism:
      requested.mechanism === undefined
        ? stored.mechanism
        : changed(returned, requested, stored, 'mechanism'),
    context: mergeContext(returned.context, requested.context, stored.context),
  }
}

function mergeContext(
  returned: ConnectionContext | undefined,
  requested: ConnectionContext | undefined,
  stored: ConnectionContext | undefined,
): ConnectionContext | undefined {
  if (requested === undefined || stored === undefined) return requested ?? stored
  const base = returned ?? ConnectionContext.fromPartial({})
  return {
    ...requested,
    ipContext: changed(base, requested, stored, 'ipContext'),
    dnsContext: changed(base, requested, stored, 'dnsContext'),
    ethernetContext: changed(base, requested, stored, 'ethernetContext'),
    extraContext: changed(base, requested, stored, 'extraContext'),
    MTU: changed(base, requested, stored, 'MTU'),
  }
}

function changed<T, K extends keyof T>(returned: T, requested: T, stored: T, field: K): T[K] {
  return isDeepStrictEqual(returned[field], requested[field]) ? stored[field] : requested[field]
}

function mergePath(requested: Path | undefined, stored: Path | undefined): Path | undefined {
  if (requested === undefined || stored === undefined) return requested ?? stored
  const head = requested.pathSegments.slice(0, requested.index + 1)
  return { ...requested, pathSegments: [...head, ...stored.pathSegments.slice(requested.index + 1)] }
}
