import { isIPv4, isIPv6 } from 'node:net'

export type Family = 4 | 6

export interface Address {
  readonly family: Family
  readonly value: bigint
}

/** An address and how many of its leading bits are the network: host bits may be set. */
export interface Prefix {
  readonly address: Address
  readonly length: number
}

/** Bits of an address. */
function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128
}

const mapped = { base: 0xffff_0000_0000n, length: 96 } as const

/** Reads an address without zone; an IPv4-mapped IPv6 one becomes IPv4, so that nothing is known under two names. */
export function parseAddress(text: string): Address | undefined {
  const address = readAddress(text)
  return address !== undefined && isMapped(address) ? unmap(address) : address
}

/** Reads `address/length` in decimal, without leading zeros. Undefined when it is no such text. */
export function parsePrefix(text: string): Prefix | undefined {
  const [, addressText, lengthText] = /^([^/]{1,45})\/(0|[1-9]\d{0,2})$/.exec(text) ?? []
  const address = addressText === undefined ? undefined : readAddress(addressText)
  if (address === undefined) return undefined
  const length = Number(lengthText)
  if (length > bitsOf(address.family)) return undefined
  if (isMapped(address) && length >= mapped.length)
    return { address: unmap(address), length: length - mapped.length }
  return { address, length }
}

/** RFC 5952 for IPv6, dotted decimal for IPv4. */
export function formatAddress({ family, value }: Address): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.')
  const groups = Array.from({ length: 8 }, (_, i) =>
    Number((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  )
  const run = longestZeroRun(groups)
  if (run.length < 2) return groups.join(':')
  return `${groups.slice(0, run.start).join(':')}::${groups.slice(run.start + run.length).join(':')}`
}

export function formatPrefix({ address, length }: Prefix): string {
  return `${formatAddress(address)}/${length}`
}

/** The prefix of one address: /32 or /128. */
export function hostPrefix(address: Address): Prefix {
  return { address, length: bitsOf(address.family) }
}

export function isHost(prefix: Prefix): boolean {
  return prefix.length === bitsOf(prefix.address.family)
}

/** First and last address of the prefix' network, as numbers; host bits do not matter. */
export function rangeOf({ address, length }: Prefix): { readonly first: bigint; readonly last: bigint } {
  const hostBits = BigInt(bitsOf(address.family) - length)
  const first = (address.value >> hostBits) << hostBits
  return { first, last: first + (1n << hostBits) - 1n }
}

export function contains(prefix: Prefix, address: Address): boolean {
  if (prefix.address.family !== address.family) return false
  const { first, last } = rangeOf(prefix)
  return first <= address.value && address.value <= last
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  if (a.address.family !== b.address.family) return false
  const [rangeA, rangeB] = [rangeOf(a), rangeOf(b)]
  return rangeA.first <= rangeB.last && rangeB.first <= rangeA.last
}

function readAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, value: BigInt(dotted(text)) }
  if (!isIPv6(text) || text.includes('%')) return undefined
  return { family: 6, value: readIPv6(text) }
}

function dotted(text: string): number {
  return text.split('.').reduce((value, octet) => value * 256 + Number(octet), 0)
}

/** `text` is valid: node:net has looked at it. */
function readIPv6(text: string): bigint {
  const [head = '', tail] = text.split('::')
  const left = groupsOf(head)
  const right = tail === undefined ? '' : groupsOf(tail)
  return BigInt(`0x${left}${'0'.repeat(32 - left.length - right.length)}${right}`)
}

/** The groups' hexadecimal digits, four each. */
function groupsOf(text: string): string {
  if (text === '') return ''
  const groups = text.split(':')
  return groups
    .map((group) => (group.includes('.') ? hex(dotted(group), 8) : group.padStart(4, '0')))
    .join('')
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

function isMapped(address: Address): boolean {
  return address.family === 6 && address.value >> 32n === mapped.base >> 32n
}

function unmap(address: Address): Address {
  return { family: 4, value: address.value & 0xffff_ffffn }
}

function longestZeroRun(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let start = 0
  for (const [at, group] of groups.entries()) {
    if (group !== '0') start = at + 1
    else if (at + 1 - start > best.length) best = { start, length: at + 1 - start }
  }
  return best
}
