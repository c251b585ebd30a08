import { connectionOf, type Element } from '../chain.ts'
import { ipContextOf, withContext } from '../connection-context.ts'

/** Adds prefixes that no endpoint may hand out to every request (wire contract §5.7); asked for anew each time. */
export function excludedPrefixes(prefixes: () => readonly string[]): Element {
  return {
    name: 'excluded prefixes',
    request(ctx, req, next) {
      const conn = connectionOf(req)
      const before = ipContextOf(conn)
      const all = [...new Set([...before.excludedPrefixes, ...prefixes()])]
      if (all.length === before.excludedPrefixes.length) return next.request(ctx, req)
      const ipContext = { ...before, excludedPrefixes: all }
      return next.request(ctx, { ...req, connection: withContext(conn, { ipContext }) })
    },
  }
}
