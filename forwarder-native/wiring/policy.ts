import type { PolicyRoute } from '@nsm/api/gen/connectioncontext.js'
import type { NamespaceState, RuleInfo } from '@nsm/native/surface.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { formatAddress, formatPrefix, isHost, parseAddress, parsePrefix } from '@nsm/sdk/net/prefix.js'
import { checkedPrefix, networkOf, quoted } from './prefix-text.ts'
import type { WantedRoute } from './route.ts'

type Ports = readonly [number, number]

/** What a rule selects; two policies with one selector are one (wire contract §6.2). */
export interface Selector {
  readonly family: 4 | 6
  readonly from?: string
  readonly ipProto?: number
  readonly dstPort?: Ports
  readonly srcPort?: Ports
}

/** One `ip rule` and the routes of its table. */
export interface WantedPolicy {
  readonly selector: Selector
  readonly routes: readonly WantedRoute[]
}

/** Tables that the kernel and `ip` use themselves; a new policy's table is the lowest free one from 1. */
const maxTable = 252

/** @throws NsmError INVALID_ARGUMENT naming the field that cannot be read. */
export function wantedPolicy(policy: PolicyRoute): WantedPolicy {
  const from = policy.from === '' ? undefined : sourceOf(policy.from)
  const [first] = policy.routes
  const family =
    from?.family ??
    (first === undefined ? 4 : checkedPrefix('policy route prefix', first.prefix).address.family)
  const proto = number('policy proto', policy.proto, 255)
  const dstPort = ports('policy dst_port', policy.dstPort)
  const srcPort = ports('policy src_port', policy.srcPort)
  return {
    selector: {
      family,
      ...(from === undefined ? {} : { from: from.text }),
      ...(proto === undefined ? {} : { ipProto: proto }),
      ...(dstPort === undefined ? {} : { dstPort }),
      ...(srcPort === undefined ? {} : { srcPort }),
    },
    routes: policy.routes.length === 0 ? [everywhere(family)] : policy.routes.map(routeOf),
  }
}

/** One text for one selector. */
export function selectorKey({ family, from, ipProto, dstPort, srcPort }: Selector | RuleInfo): string {
  return JSON.stringify([family, from ?? '', ipProto ?? 0, dstPort ?? [], srcPort ?? []])
}

/** Hands out tables that no rule and no route uses. */
export function freeTables(state: NamespaceState): () => number {
  const used = new Set([...state.rules, ...state.routes].map(({ table }) => table))
  return () => {
    for (let table = 1; table <= maxTable; table++) {
      if (used.has(table)) continue
      used.add(table)
      return table
    }
    throw new NsmError('RESOURCE_EXHAUSTED', `all routing tables from 1 to ${maxTable} are in use`)
  }
}

function everywhere(family: 4 | 6): WantedRoute {
  return { prefix: family === 4 ? '0.0.0.0/0' : '::/0', scope: 'global' }
}

function routeOf({ prefix, nextHop }: { prefix: string; nextHop: string }): WantedRoute {
  const network = checkedPrefix('policy route prefix', prefix)
  const wanted = { prefix: networkOf(network), scope: 'global' } as const
  if (nextHop === '') return wanted
  const gateway = parseAddress(nextHop)
  if (gateway?.family === network.address.family) return { ...wanted, gateway: formatAddress(gateway) }
  throw new NsmError(
    'INVALID_ARGUMENT',
    `policy route next_hop must be an address of its prefix' family, not ${quoted(nextHop)}`,
  )
}

/** A source may be an address or a prefix. */
function sourceOf(text: string): { family: 4 | 6; text: string } {
  const prefix = parsePrefix(text)
  if (prefix !== undefined)
    return { family: prefix.address.family, text: isHost(prefix) ? formatPrefix(prefix) : networkOf(prefix) }
  const address = parseAddress(text)
  if (address === undefined) {
    throw new NsmError('INVALID_ARGUMENT', `policy from must be an address or a prefix, not ${quoted(text)}`)
  }
  return { family: address.family, text: `${formatAddress(address)}/${address.family === 4 ? 32 : 128}` }
}

function ports(field: string, text: string): Ports | undefined {
  if (text === '') return undefined
  const [first = '', last = first, ...rest] = text.split('-')
  const range = [number(field, first, 65_535), number(field, last, 65_535)] as const
  const [low, high] = range
  if (low !== undefined && high !== undefined && low <= high && rest.length === 0) return [low, high]
  throw new NsmError('INVALID_ARGUMENT', `${field} must be a port or a range as 80-90, not ${quoted(text)}`)
}

function number(field: string, text: string, most: number): number | undefined {
  if (text === '') return undefined
  const value = Number(text)
  if (/^\d{1,5}$/.test(text) && value <= most) return value
  throw new NsmError('INVALID_ARGUMENT', `${field} must be a number up to ${most}, not ${quoted(text)}`)
}
