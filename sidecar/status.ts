import type { Connection, PathSegment } from '@nsm/api/gen/connection.js'
import type { IPContext } from '@nsm/api/gen/connectioncontext.js'
import { hopTimeMetric } from '@nsm/sdk/elements/hop-time.js'
import type { DnsStatus } from './dns/status.ts'
import { parseToken } from '@nsm/spiffe/es256.js'

/** What a connection of the pod is going through. */
export type ConnectionState = 'CONNECTING' | 'UP' | 'HEALING' | 'CLOSED'

/** Why it is in this state, in one word. */
export type Reason =
  | 'Requested'
  | 'Resumed'
  | 'RequestFailed'
  | 'Established'
  | 'Healed'
  | 'ControlPlaneLost'
  | 'DataPlaneLost'
  | 'Closed'

/** One process on the way to the endpoint. */
export interface Hop {
  readonly name: string
  readonly id: string
  /** Who the hop says it is, by its token's `sub`; null when it has none that can be read. */
  readonly spiffeId: string | null
  /** When its token expires, ISO 8601. */
  readonly expires: string | null
  /** Time that the last successful Request spent in this hop and on the way to the next one; null when one of both does not tell. */
  readonly ms: number | null
  /** What the hop says about itself. */
  readonly metrics: Readonly<Record<string, string>>
}

export interface RouteStatus {
  readonly prefix: string
  readonly nextHop: string | null
}

/** One connection; what is not known yet is null or empty. */
export interface ConnectionStatus {
  readonly id: string
  readonly networkService: string
  readonly labels: Readonly<Record<string, string>>
  readonly state: ConnectionState
  readonly reason: Reason
  /** The reason in a sentence. */
  readonly message: string
  /** When the state last changed, ISO 8601. */
  readonly since: string
  readonly endpoint: string | null
  readonly interface: string | null
  readonly mechanism: string | null
  readonly payload: string | null
  /** CIDRs of this pod on the interface. */
  readonly addresses: readonly string[]
  /** CIDRs of the endpoint. */
  readonly endpointAddresses: readonly string[]
  readonly routes: readonly RouteStatus[]
  readonly mtu: number | null
  readonly dns: readonly ConnectionDns[]
  /** When the first token on the path expires, ISO 8601; it is refreshed long before. */
  readonly expires: string | null
  /** Time of the last successful Request over all hops. */
  readonly requestMs: number | null
  readonly path: readonly Hop[]
  readonly requests: { readonly succeeded: number; readonly failed: number }
  readonly heals: { readonly count: number; readonly last: Heal | null }
}

/** Names that a connection brings. */
export interface ConnectionDns {
  readonly servers: readonly string[]
  readonly searchDomains: readonly string[]
  /** Per server what was last wrong with it; servers without trouble are left out. */
  readonly lastErrors: Readonly<Record<string, string>>
}

/** One loss that was repaired. */
export interface Heal {
  /** When it was noticed, ISO 8601. */
  readonly at: string
  readonly cause: 'ControlPlaneLost' | 'DataPlaneLost'
  readonly ms: number
}

/** All connections of the pod. */
export interface SidecarStatus {
  /** NSM_NAME. */
  readonly name: string
  /** Own SPIFFE ID. */
  readonly spiffeId: string | null
  /** Every connection carries packets. */
  readonly ready: boolean
  /** In the order of NSM_NETWORK_SERVICES. */
  readonly connections: readonly ConnectionStatus[]
  /** How the pod's names are resolved. */
  readonly dns: DnsStatus
}

/** What happens to one connection. */
export type StatusEvent =
  | { readonly type: 'resumed'; readonly id: string; readonly connection: Connection }
  | {
      readonly type: 'established'
      readonly id: string
      readonly connection: Connection
      readonly ms: number
    }
  | { readonly type: 'failed'; readonly id: string; readonly error: string }
  | { readonly type: 'lost'; readonly id: string; readonly cause: Heal['cause'] }
  | { readonly type: 'closed'; readonly id: string }

/** A connection as it begins. */
export function requested(
  {
    id,
    networkService,
    labels,
  }: {
    readonly id: string
    readonly networkService: string
    readonly labels: Readonly<Record<string, string>>
  },
  nowMs: number,
): ConnectionStatus {
  return {
    id,
    networkService,
    labels,
    state: 'CONNECTING',
    reason: 'Requested',
    message: `asking for ${networkService}`,
    since: iso(nowMs),
    endpoint: null,
    interface: null,
    mechanism: null,
    payload: null,
    addresses: [],
    endpointAddresses: [],
    routes: [],
    mtu: null,
    dns: [],
    expires: null,
    requestMs: null,
    path: [],
    requests: { succeeded: 0, failed: 0 },
    heals: { count: 0, last: null },
  }
}

/** The connection after an event: a pure function. */
export function reduce(status: ConnectionStatus, event: StatusEvent, nowMs: number): ConnectionStatus {
  switch (event.type) {
    case 'resumed':
      return {
        ...status,
        ...detailsOf(event.connection),
        reason: 'Resumed',
        message: 'found from before the restart, asking for it again',
      }
    case 'established':
      return established(status, event, nowMs)
    case 'failed':
      return failed(status, event.error)
    case 'lost':
      return moved(status, 'HEALING', nowMs, { reason: event.cause, message: lossMessages[event.cause] })
    case 'closed':
    default:
      return moved(status, 'CLOSED', nowMs, { reason: 'Closed', message: 'closed, since the pod is ending' })
  }
}

const lossMessages = {
  ControlPlaneLost: 'the way to the node’s manager is lost, asking again',
  DataPlaneLost: 'packets do not pass any more, asking for any endpoint',
} as const

/** Whether packets pass, as far as is known. */
export function carriesPackets({ state, reason }: ConnectionStatus): boolean {
  return state === 'UP' || (state === 'HEALING' && reason === 'ControlPlaneLost')
}

function established(
  status: ConnectionStatus,
  { connection, ms }: { readonly connection: Connection; readonly ms: number },
  nowMs: number,
): ConnectionStatus {
  const details = detailsOf(connection, ms)
  const message = `${details.interface ?? 'connected'} to ${details.endpoint ?? 'an endpoint'}`
  const { succeeded, failed: failures } = status.requests
  const requests = { succeeded: succeeded + 1, failed: failures }
  const now = { ...status, ...details, requestMs: rounded(ms), requests }
  const { state } = status
  if (state === 'UP' || state === 'CLOSED')
    return { ...now, message: state === 'UP' ? message : status.message }
  if (state === 'CONNECTING') return moved(now, 'UP', nowMs, { reason: 'Established', message })
  const began = Date.parse(status.since)
  const cause = status.reason === 'DataPlaneLost' ? 'DataPlaneLost' : 'ControlPlaneLost'
  const last: Heal = { at: status.since, cause, ms: nowMs - began }
  const heals = { count: status.heals.count + 1, last }
  return moved({ ...now, heals }, 'UP', nowMs, { reason: 'Healed', message })
}

/** Keeps the state: what was up stays up until it is lost, and what is being asked for is asked for again. */
function failed(status: ConnectionStatus, error: string): ConnectionStatus {
  const requests = { ...status.requests, failed: status.requests.failed + 1 }
  const message = `last request failed: ${error}`
  if (status.state === 'CONNECTING') return { ...status, requests, reason: 'RequestFailed', message }
  return { ...status, requests, ...(status.state === 'CLOSED' ? {} : { message }) }
}

function moved(
  status: ConnectionStatus,
  state: ConnectionState,
  nowMs: number,
  why: { readonly reason: Reason; readonly message: string },
): ConnectionStatus {
  return { ...status, ...why, state, since: status.state === state ? status.since : iso(nowMs) }
}

type Details = Omit<
  ConnectionStatus,
  'id' | 'labels' | 'state' | 'reason' | 'message' | 'since' | 'requestMs' | 'requests' | 'heals'
>

function detailsOf(connection: Connection, requestMs?: number): Details {
  const { mechanism, context, path } = connection
  return {
    networkService: connection.networkService,
    endpoint: orNull(connection.networkServiceEndpointName),
    interface: orNull(mechanism?.parameters['name']),
    mechanism: orNull(mechanism?.type),
    payload: orNull(connection.payload),
    mtu: context?.MTU ? context.MTU : null,
    dns: (context?.dnsContext?.configs ?? []).map(({ dnsServerIps, searchDomains }) => ({
      servers: dnsServerIps,
      searchDomains,
      lastErrors: {},
    })),
    ...addressesOf(context?.ipContext),
    ...hopsOf(path?.pathSegments ?? [], requestMs),
  }
}

function addressesOf(ip: IPContext | undefined): Pick<Details, 'addresses' | 'endpointAddresses' | 'routes'> {
  const { srcIpAddrs = [], dstIpAddrs = [], srcRoutes = [] } = ip ?? {}
  const routes = srcRoutes.map(({ prefix, nextHop }) => ({ prefix, nextHop: orNull(nextHop) }))
  return { addresses: srcIpAddrs, endpointAddresses: dstIpAddrs, routes }
}

function hopsOf(
  segments: readonly PathSegment[],
  requestMs: number | undefined,
): Pick<Details, 'expires' | 'path'> {
  const expiries = segments.flatMap(({ expires }) => (expires === undefined ? [] : [expires.getTime()]))
  // Each hop's time includes that of the hops behind it. The first one is this process, which has measured its own.
  const times = segments.map(({ metrics }, i) => (i === 0 ? requestMs : msIn(metrics[hopTimeMetric])))
  const path = segments.map(({ name, id, token, expires, metrics }, i) => ({
    name,
    id,
    spiffeId: subjectOf(token),
    expires: expires === undefined ? null : iso(expires.getTime()),
    ms: requestMs === undefined ? null : shareOf(times[i], i + 1 < segments.length ? times[i + 1] : 0),
    metrics,
  }))
  return { expires: expiries.length === 0 ? null : iso(Math.min(...expiries)), path }
}

function msIn(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : undefined
}

function shareOf(own: number | undefined, next: number | undefined): number | null {
  return own === undefined || next === undefined ? null : Math.max(0, rounded(own - next))
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100
}

function subjectOf(token: string): string | null {
  try {
    return orNull(parseToken(token).sub)
  } catch {
    return null
  }
}

function orNull(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text
}

/** Not every number is a date: a peer's timestamp may be beyond what one can hold. */
function iso(ms: number): string {
  return new Date(Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 253_402_300_799_999) : 0).toISOString()
}
