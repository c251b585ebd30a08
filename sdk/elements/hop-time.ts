import type { Connection, Path } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'

/** Key in a path segment's metrics: how long that hop, with all that it asked in turn, took for the last Request, in ms. */
export const hopTimeMetric = 'nsm_request_ms'

/**
 * Tells the client how long this hop took for a Request: in the metrics of its own path segment, in the answer only.
 * Times of an earlier Request are not passed on: the hops to come say theirs, or nothing.
 *
 * Stands behind `updatePath`. `elapsed` is any clock in ms that never goes back.
 */
export function hopTime(elapsed: () => number = () => performance.now()): Element {
  return {
    name: 'hop-time',

    async request(ctx, req, next) {
      const began = elapsed()
      const connection = connectionOf(req)
      const index = connection.path?.index ?? 0
      const answer = await next.request(ctx, { ...req, connection: withoutHopTimes(connection, index) })
      return { ...answer, path: timed(answer.path, index, elapsed() - began) }
    },
  }
}

/** The same connection without the hops' times, from the segment at `from` on: whether it has changed does not depend on them. */
export function withoutHopTimes(conn: Connection, from = 0): Connection {
  const { path } = conn
  if (path?.pathSegments.some(({ metrics }) => hopTimeMetric in metrics) !== true) return conn
  const pathSegments = path.pathSegments.map((segment, i) => {
    if (i < from || !(hopTimeMetric in segment.metrics)) return segment
    const { [hopTimeMetric]: _, ...metrics } = segment.metrics
    return { ...segment, metrics }
  })
  return { ...conn, path: { ...path, pathSegments } }
}

function timed(path: Path | undefined, index: number, ms: number): Path | undefined {
  const own = path?.pathSegments[index]
  if (path === undefined || own === undefined) return path
  const metrics = { ...own.metrics, [hopTimeMetric]: ms.toFixed(2) }
  return { ...path, pathSegments: path.pathSegments.with(index, { ...own, metrics }) }
}
