import type { Connection, MonitorScopeSelector, PathSegment } from '@nsm/api/gen/connection.js'

/** Whether a monitor with this selector is to hear of the connection (§1.9). */
export function inScope(selector: MonitorScopeSelector, conn: Connection): boolean {
  const { networkServices, pathSegments: wanted } = selector
  if (networkServices.length > 0 && !networkServices.includes(conn.networkService)) return false
  if (wanted.length === 0) return true
  const segments = conn.path?.pathSegments ?? []
  return segments.some((_, start) =>
    wanted.every((segment, i) => {
      const found = segments[start + i]
      return found !== undefined && fits(segment, found)
    }),
  )
}

/** What is empty in `wanted` fits anything. */
function fits(wanted: PathSegment, found: PathSegment): boolean {
  return (
    (wanted.name === '' || wanted.name === found.name) &&
    (wanted.id === '' || wanted.id === found.id) &&
    (wanted.token === '' || wanted.token === found.token)
  )
}
