import { NsmError } from '@nsm/sdk/errors.js'
import { addressPool, exclusions } from '@nsm/sdk/net/pool.js'
import { formatAddress, parseAddress, parsePrefix, type Address, type Prefix } from '@nsm/sdk/net/prefix.js'

/** Addresses of the mesh's own networks: those that stand for the underlay and for the CNI. */
export interface AddressPlan {
  /** Of the switch, with the underlay's length. */
  readonly switchPrefix: string
  readonly switchIp: string
  node(index: number): NodeAddresses
}

export interface NodeAddresses {
  readonly ip: string
  readonly prefix: string
  readonly podCidr: string
  /** Of the node on its pods' bridge. */
  readonly gateway: string
  readonly gatewayPrefix: string
}

/** Addresses below this are the switch and room for it to grow; nodes come after. */
const firstNode = 11n
const nodeLength = 24

export function addressPlan(underlayText: string, podCidrText: string): AddressPlan {
  const underlay = required(underlayText)
  const pods = required(podCidrText)
  const inUnderlay = (offset: bigint): string => formatAddress(plus(underlay.address, offset))
  return {
    switchIp: inUnderlay(1n),
    switchPrefix: `${inUnderlay(1n)}/${underlay.length}`,
    node(index) {
      const base = plus(pods.address, BigInt(index) * 256n)
      const gateway = formatAddress(plus(base, 1n))
      const ip = inUnderlay(firstNode + BigInt(index))
      return {
        ip,
        prefix: `${ip}/${underlay.length}`,
        podCidr: `${formatAddress(base)}/${nodeLength}`,
        gateway,
        gatewayPrefix: `${gateway}/${nodeLength}`,
      }
    },
  }
}

/** Hands out the addresses of one node's pods. */
export interface PodAddresses {
  /** RESOURCE_EXHAUSTED when all are taken. */
  reserve(): string
  release(ip: string): void
}

export function podAddresses({ podCidr, gateway }: NodeAddresses): PodAddresses {
  const prefix = required(podCidr)
  const pool = addressPool(prefix)
  const network = formatAddress(prefix.address)
  const broadcast = formatAddress(plus(prefix.address, 255n))
  const never = exclusions([network, gateway, broadcast].map((ip) => required(`${ip}/32`)))
  return {
    reserve() {
      const address = pool.allocate(never)
      if (address === undefined)
        throw new NsmError('RESOURCE_EXHAUSTED', `no pod address is left in ${podCidr}`)
      return formatAddress(address)
    },
    release(ip) {
      const address = parseAddress(ip)
      if (address !== undefined) pool.release(address)
    },
  }
}

function plus({ family, value }: Address, offset: bigint): Address {
  return { family, value: value + offset }
}

function required(text: string): Prefix {
  const prefix = parsePrefix(text)
  if (prefix === undefined) throw new NsmError('INVALID_ARGUMENT', `${text} is not a prefix`)
  return prefix
}
