import { formatPrefix, type Prefix } from '@nsm/sdk/net/prefix.js'
import { stringify } from 'yaml'

/** The file that nsmgr reads (wire contract §5.7). */
export function prefixesText(prefixes: readonly Prefix[]): string {
  return stringify({ Prefixes: prefixes.map(formatPrefix) }, { indentSeq: false })
}
