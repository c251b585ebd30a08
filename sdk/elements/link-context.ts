import { Route, type IPContext } from '@nsm/api/gen/connectioncontext.js'
import type { AddressPair } from '../net/pair-pools.ts'
import { formatPrefix, hostPrefix, isHost, parsePrefix, type Address } from '../net/prefix.ts'

/** The addresses of `texts`; those without full length or otherwise malformed are left out, as every reader does. */
export function hostAddresses(texts: readonly string[]): Address[] {
  return texts.flatMap((text) => {
    const prefix = parsePrefix(text)
    return prefix !== undefined && isHost(prefix) ? [prefix.address] : []
  })
}

/**
 * The IP context of a point-to-point link: the pairs first, then of what was asked for whatever `mayStay`.
 *
 * Each side gets a route without next hop to every address of the other, which in the pod makes exactly
 * `172.16.1.100 dev nsm-1` (wire contract §6.2). On the client's side its other routes stay, except those to an endpoint's
 * address that is none any more; on the endpoint's side nothing stays: a client has no say in the endpoint's routes.
 */
export function linkContext(
  asked: IPContext,
  pairs: readonly AddressPair[],
  mayStay: (address: Address) => boolean,
): IPContext {
  const clients = unique([
    ...pairs.map((pair) => pair.client),
    ...hostAddresses(asked.srcIpAddrs).filter(mayStay),
  ])
  const endpoints = unique([
    ...pairs.map((pair) => pair.endpoint),
    ...hostAddresses(asked.dstIpAddrs).filter(mayStay),
  ]).filter((text) => !clients.includes(text))
  const gone = new Set(
    hostAddresses(asked.dstIpAddrs)
      .map(formatHost)
      .filter((text) => !endpoints.includes(text)),
  )
  const others = asked.srcRoutes.filter(({ prefix, nextHop }) => {
    const parsed = parsePrefix(prefix)
    if (parsed === undefined) return false
    const text = formatPrefix(parsed)
    return (
      !gone.has(text) &&
      !gone.has(`${nextHop}/${parsed.address.family === 4 ? 32 : 128}`) &&
      !(endpoints.includes(text) && nextHop === '')
    )
  })
  return {
    ...asked,
    srcIpAddrs: clients,
    dstIpAddrs: endpoints,
    srcRoutes: [...endpoints.map(routeTo), ...others],
    dstRoutes: clients.map(routeTo),
  }
}

function routeTo(prefix: string): Route {
  return Route.fromPartial({ prefix })
}

function formatHost(address: Address): string {
  return formatPrefix(hostPrefix(address))
}

function unique(addresses: readonly Address[]): string[] {
  return [...new Set(addresses.map(formatHost))]
}
