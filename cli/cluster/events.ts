import type { Cluster, Item } from './cluster.ts'
import { numberAt, textAt, timeAt } from './fields.ts'

/** What was said about an object, the newest last. */
export interface EventLine {
  readonly type: string
  readonly reason: string
  readonly message: string
  readonly count: number
  /** Milliseconds since 1970. */
  readonly lastMs: number
  readonly from: string
  /** What it is about, as `Pod/client-1`. */
  readonly about: string
  readonly aboutUid: string
}

/** Events of a namespace, or those about one object of it, the newest last. */
export async function eventsIn(
  cluster: Cluster,
  namespace: string | undefined,
  about: { readonly kind?: string; readonly name?: string; readonly uid?: string } = {},
): Promise<readonly EventLine[]> {
  const fields = Object.entries(about).map(([field, value]) => `involvedObject.${field}=${value}`)
  const path = namespace === undefined ? '/api/v1/events' : `/api/v1/namespaces/${namespace}/events`
  const found = await cluster.list(path, fields.length === 0 ? {} : { fieldSelector: fields.join(',') })
  return found.map(lineOf).toSorted((a, b) => a.lastMs - b.lastMs)
}

function lineOf(event: Item): EventLine {
  return {
    type: textAt(event, 'type'),
    reason: textAt(event, 'reason'),
    message: textAt(event, 'message'),
    count: numberAt(event, 'count') || numberAt(event, 'series', 'count') || 1,
    lastMs:
      timeAt(event, 'lastTimestamp') ??
      timeAt(event, 'series', 'lastObservedTime') ??
      timeAt(event, 'eventTime') ??
      timeAt(event, 'metadata', 'creationTimestamp') ??
      0,
    from: textAt(event, 'source', 'component') || textAt(event, 'reportingComponent'),
    about: `${textAt(event, 'involvedObject', 'kind')}/${textAt(event, 'involvedObject', 'name')}`,
    aboutUid: textAt(event, 'involvedObject', 'uid'),
  }
}
