import { mechanismParameters, payloads } from '@nsm/api/constants.js'
import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import type { IPContext, Route } from '@nsm/api/gen/connectioncontext.js'
import { NsmError } from '@nsm/sdk/errors.js'
import {
  contains,
  formatAddress,
  formatPrefix,
  parseAddress,
  type Address,
  type Prefix,
} from '@nsm/sdk/net/prefix.js'
import { wantedPolicy, type WantedPolicy } from './policy.ts'
import { checkedPrefix, networkOf, quoted } from './prefix-text.ts'
import type { WantedRoute } from './route.ts'

/** The two pods of a connection: who asked, and who serves. */
export type Side = 'client' | 'endpoint'

export interface WantedNeighbour {
  readonly ip: string
  readonly mac: string
  readonly state: 'reachable' | 'permanent'
}

/** What one side's interface is to be like (wire contract §6.2). */
export interface WantedSide {
  /** False with a VLAN: addresses and routes are then somebody else's affair. */
  readonly configured: boolean
  /** Packets to and from 127.0.0.0/8 may pass: wanted by some endpoints that translate addresses. */
  readonly routeLocalNet: boolean
  readonly addresses: readonly string[]
  /** One for each prefix. */
  readonly routes: readonly WantedRoute[]
  readonly policies: readonly WantedPolicy[]
  readonly neighbours: readonly WantedNeighbour[]
}

/** MTU of a link that nothing limits, and the bounds of one that somebody asked for. */
const mtus = { unlimited: 9000, least: 68, most: 65_535 } as const
/** Entries of one list of the context. */
const maxEntries = 4096

/** MTU of a connection's link. @throws NsmError INVALID_ARGUMENT when the context's is none. */
export function mtuOf(conn: Connection): number {
  const { MTU = 0 } = conn.context ?? {}
  if (MTU === 0) return mtus.unlimited
  if (MTU >= mtus.least && MTU <= mtus.most) return MTU
  throw new NsmError('INVALID_ARGUMENT', `context MTU must be ${mtus.least} to ${mtus.most} or 0, not ${MTU}`)
}

/** The hardware address that the context wants for one side. */
export function macOf(conn: Connection, side: Side): string | undefined {
  const ethernet = conn.context?.ethernetContext
  const mac = side === 'client' ? ethernet?.srcMac : ethernet?.dstMac
  return mac === '' || mac === undefined ? undefined : checkedMac(`ethernet_context ${side} address`, mac)
}

/**
 * What the answered connection wants of one side (§6.2). Without IP context nothing.
 * @throws NsmError INVALID_ARGUMENT naming the field that cannot be read.
 */
export function wantedSide(conn: Connection, side: Side, mechanism: Mechanism, peerMac: string): WantedSide {
  const context = conn.context?.ipContext
  const vlan = Number(mechanism.parameters[mechanismParameters.vlan] ?? 0)
  const routeLocalNet =
    side === 'endpoint' && mechanism.parameters[mechanismParameters.routeLocalNet] === 'true'
  if (context === undefined || vlan > 0) {
    const nothing = { addresses: [], routes: [], policies: [], neighbours: [] }
    return { configured: vlan === 0, routeLocalNet, ...nothing }
  }
  const view = viewOf(context, side)
  const [own, other] = [prefixesOf(...view.own), prefixesOf(...view.other)]
  const explicit = bounded(...view.routes).map((route) => explicitRoute(route, other))
  const isIp = conn.payload === '' || conn.payload === payloads.IP
  return {
    configured: true,
    routeLocalNet,
    addresses: own.map(formatPrefix),
    routes: lastOfEachPrefix([...implicitRoutes(own, other), ...explicit]),
    policies: side === 'client' ? bounded('policies', context.policies).map(wantedPolicy) : [],
    neighbours: neighboursOf(context, isIp ? other : [], peerMac),
  }
}

type Field<T> = readonly [name: string, list: readonly T[]]

/** The context as one side sees it. */
function viewOf(
  context: IPContext,
  side: Side,
): { own: Field<string>; other: Field<string>; routes: Field<Route> } {
  const src: Field<string> = ['src_ip_addrs', context.srcIpAddrs]
  const dst: Field<string> = ['dst_ip_addrs', context.dstIpAddrs]
  if (side === 'client') return { own: src, other: dst, routes: ['src_routes', context.srcRoutes] }
  return { own: dst, other: src, routes: ['dst_routes', context.dstRoutes] }
}

/** A route to each network of the other side whose address is not in a network of this one. */
function implicitRoutes(own: readonly Prefix[], other: readonly Prefix[]): WantedRoute[] {
  return other
    .filter((prefix) => !own.some((network) => contains(network, prefix.address)))
    .map((prefix) => ({ prefix: networkOf(prefix), scope: 'link' }))
}

function explicitRoute(route: Route, other: readonly Prefix[]): WantedRoute {
  const prefix = checkedPrefix('route prefix', route.prefix)
  const gateway = gatewayOf(route, prefix, other)
  const wanted = { prefix: networkOf(prefix), scope: 'global' } as const
  return gateway === undefined ? wanted : { ...wanted, gateway: formatAddress(gateway) }
}

function gatewayOf({ nextHop }: Route, prefix: Prefix, other: readonly Prefix[]): Address | undefined {
  if (nextHop !== '') {
    const address = parseAddress(nextHop)
    if (address?.family === prefix.address.family) return address
    throw new NsmError(
      'INVALID_ARGUMENT',
      `route next_hop must be an address of its prefix' family, not ${quoted(nextHop)}`,
    )
  }
  if (other.some((network) => contains(network, prefix.address))) return undefined
  return other.find(({ address }) => address.family === prefix.address.family)?.address
}

function neighboursOf(context: IPContext, other: readonly Prefix[], peerMac: string): WantedNeighbour[] {
  const all = new Map<string, WantedNeighbour>()
  for (const { address } of other) {
    const ip = formatAddress(address)
    all.set(ip, { ip, mac: peerMac, state: 'permanent' })
  }
  for (const { ip: text, hardwareAddress } of bounded('ip_neighbors', context.ipNeighbors)) {
    const address = parseAddress(text)
    if (address === undefined) {
      throw new NsmError('INVALID_ARGUMENT', `ip_neighbors ip must be an address, not ${quoted(text)}`)
    }
    const ip = formatAddress(address)
    if (!all.has(ip))
      all.set(ip, {
        ip,
        mac: checkedMac('ip_neighbors hardware_address', hardwareAddress),
        state: 'reachable',
      })
  }
  return [...all.values()]
}

/** The kernel keeps one route of ours for a prefix: the last one. */
function lastOfEachPrefix(routes: readonly WantedRoute[]): WantedRoute[] {
  return [...new Map(routes.map((route) => [route.prefix, route])).values()]
}

function prefixesOf(field: string, texts: readonly string[]): Prefix[] {
  return bounded(field, texts).map((text) => checkedPrefix(field, text))
}

function bounded<T>(field: string, list: readonly T[]): readonly T[] {
  if (list.length <= maxEntries) return list
  throw new NsmError('INVALID_ARGUMENT', `${field} has ${list.length} entries, at most ${maxEntries}`)
}

function checkedMac(field: string, text: string): string {
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return text.toLowerCase()
  throw new NsmError('INVALID_ARGUMENT', `${field} must be as 02:00:00:00:00:01, not ${quoted(text)}`)
}
