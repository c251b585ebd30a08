import { NsmError } from '../errors.ts'
import { formatPrefix, overlaps, parsePrefix, type Prefix } from './prefix.ts'

/**
 * Reads NSM_CIDR_PREFIX (wire contract §7.2): `a,b` gives an address of each prefix, `[a,b],[c]` one of each group.
 * @throws NsmError INVALID_ARGUMENT, "must …", when the text is malformed or a prefix overlaps another.
 */
export function parsePrefixGroups(text: string): Prefix[][] {
  const items = text.match(/\[[^[\]]*\]|[^,[\]]+/g) ?? []
  if (text === '' || items.join(',') !== text) {
    throw new NsmError('INVALID_ARGUMENT', 'must be prefixes separated by commas, as a,b or [a,b],[c]')
  }
  const groups = items.map((item) => (item.startsWith('[') ? item.slice(1, -1) : item).split(',').map(poolOf))
  checkDisjoint(groups.flat())
  return groups
}

function poolOf(text: string): Prefix {
  const prefix = parsePrefix(text)
  if (prefix !== undefined) return prefix
  const shown = JSON.stringify(text.slice(0, 60))
  throw new NsmError(
    'INVALID_ARGUMENT',
    `must have prefixes as 172.16.1.0/24 or 2001:db8::/64: ${shown} is none`,
  )
}

function checkDisjoint(pools: readonly Prefix[]): void {
  for (const [at, pool] of pools.entries()) {
    const other = pools.slice(0, at).find((before) => overlaps(before, pool))
    if (other === undefined) continue
    throw new NsmError(
      'INVALID_ARGUMENT',
      `must not overlap, as ${formatPrefix(other)} and ${formatPrefix(pool)} do`,
    )
  }
}
