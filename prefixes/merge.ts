import { rangeOf, type Family, type Prefix } from '@nsm/sdk/net/prefix.js'

const families: readonly Family[] = [4, 6]
/** How much coarser IPv6 gets by each step, so that both families lose about as much. */
const stepBits = { 4: 1, 6: 4 } as const

/**
 * The same addresses in the fewest prefixes: without host bits, those that others contain, and halves of which both are there;
 * IPv4 first, by address.
 */
export function mergePrefixes(prefixes: readonly Prefix[]): readonly Prefix[] {
  return families.flatMap((family) => {
    const ordered = prefixes
      .filter(({ address }) => address.family === family)
      .map(network)
      .toSorted(byAddress)
    return ordered.reduce(join, [])
  })
}

/** At most `most` prefixes that contain all the given ones, as little more as halving the number of bits step by step can reach. */
export function atMost(most: number, prefixes: readonly Prefix[]): readonly Prefix[] {
  let merged = mergePrefixes(prefixes)
  for (let step = 1; merged.length > most && step <= 32; step += 1) {
    merged = mergePrefixes(merged.map((prefix) => shortened(prefix, step)))
  }
  return merged
}

function shortened({ address, length }: Prefix, step: number): Prefix {
  const longest = (address.family === 4 ? 32 : 128) - step * stepBits[address.family]
  return { address, length: Math.min(length, longest) }
}

/** The prefix with the first address of its network. */
function network(prefix: Prefix): Prefix {
  return {
    address: { family: prefix.address.family, value: rangeOf(prefix).first },
    length: prefix.length,
  }
}

/** Larger networks first where they begin at the same address. */
function byAddress(a: Prefix, b: Prefix): number {
  if (a.address.value !== b.address.value) return a.address.value < b.address.value ? -1 : 1
  return a.length - b.length
}

/** Puts a prefix behind those of lower addresses. */
function join(merged: Prefix[], next: Prefix): Prefix[] {
  const last = merged.at(-1)
  if (last !== undefined && rangeOf(last).last >= rangeOf(next).last) return merged
  merged.push(next)
  while (joinHalves(merged)) continue
  return merged
}

/** Replaces the last two by the network of which they are the halves. */
function joinHalves(merged: Prefix[]): boolean {
  const [lower, upper] = merged.slice(-2)
  if (lower === undefined || upper === undefined) return false
  if (lower.length !== upper.length || lower.length === 0) return false
  const whole = network({ address: lower.address, length: lower.length - 1 })
  if (whole.address.value !== lower.address.value || rangeOf(whole).last !== rangeOf(upper).last) return false
  merged.splice(-2, 2, whole)
  return true
}
