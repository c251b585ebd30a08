import { NsmError } from '@nsm/sdk/errors.js'
import { formatPrefix, parsePrefix, rangeOf, type Prefix } from '@nsm/sdk/net/prefix.js'

/** @throws NsmError INVALID_ARGUMENT naming the field. */
export function checkedPrefix(field: string, text: string): Prefix {
  const prefix = parsePrefix(text)
  if (prefix !== undefined) return prefix
  throw new NsmError(
    'INVALID_ARGUMENT',
    `${field} must be as 172.16.1.0/24 or 2001:db8::/64, not ${quoted(text)}`,
  )
}

/** The prefix' network: host bits zero. */
export function networkOf(prefix: Prefix): string {
  const { family } = prefix.address
  return formatPrefix({ address: { family, value: rangeOf(prefix).first }, length: prefix.length })
}

/** A stranger's text, cut, for an error message. */
export function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 60))
}
