import { randomBytes } from 'node:crypto'
import { NsmError } from '@nsm/sdk/errors.js'
import type { ApiClient, KubernetesObject } from './api-client.ts'

/** Which object an event is about. */
export interface Regarding {
  readonly apiVersion: string
  readonly kind: string
  /** undefined for objects of the cluster: their events are in `default`. */
  readonly namespace?: string | undefined
  readonly name: string
  readonly uid?: string | undefined
}

export interface RecordedEvent {
  readonly regarding: Regarding
  readonly type: 'Normal' | 'Warning'
  /** One word in camel case, at most 128 characters. */
  readonly reason: string
  /** A sentence; what is over 1 kB is cut. */
  readonly message: string
}

/** One event as often as it happened. */
export interface Series {
  readonly event: RecordedEvent
  readonly objectName: string
  readonly firstAt: number
  lastAt: number
  count: number
  isWritten: boolean
}

const maxKnown = 512
/** The server forgets events after an hour. */
const rememberMs = 3_000_000
const maxMessageBytes = 1024
/** Of 253, less what makes it unique. */
const maxNameLength = 230

/** Remembers the last events: answers the series that one belongs to, with it counted. */
export function knownSeries(): (event: RecordedEvent, now: number) => Series {
  const known = new Map<string, Series>()
  return (event, now) => {
    const { regarding, type, reason, message } = event
    const { kind, namespace, name, uid } = regarding
    const key = JSON.stringify([kind, namespace, name, uid, type, reason, message])
    const last = known.get(key)
    known.delete(key)
    const goesOn = last !== undefined && Math.abs(now - last.lastAt) < rememberMs
    const series = goesOn ? last : begun(event, now)
    series.count += 1
    series.lastAt = now
    known.set(key, series)
    for (const [oldest] of known) {
      if (known.size <= maxKnown) break
      known.delete(oldest)
    }
    return series
  }
}

function begun(event: RecordedEvent, now: number): Series {
  const objectName = `${event.regarding.name.slice(0, maxNameLength)}.${randomBytes(8).toString('hex')}`
  return { event, objectName, firstAt: now, lastAt: now, count: 0, isWritten: false }
}

/** Makes the event's object, or counts it up. Rejects as the client does. */
export async function writeSeries(
  series: Series,
  writer: { readonly client: ApiClient; readonly component: string; readonly instance: string },
): Promise<void> {
  const { client } = writer
  const path = `/api/v1/namespaces/${namespaceOf(series)}/events`
  const { count, lastAt } = series
  const counted = { count, lastTimestamp: timestamp(lastAt) }
  if (series.isWritten) {
    const isThere = await unless('NOT_FOUND', client.patch(`${path}/${series.objectName}`, counted, 'merge'))
    if (isThere) return
  }
  // A try whose answer was lost may have made it.
  await unless('ALREADY_EXISTS', client.create(path, objectOf(series, writer)))
  series.isWritten = true
}

function objectOf(
  { event, objectName, firstAt, lastAt, count }: Series,
  { component, instance }: { readonly component: string; readonly instance: string },
): KubernetesObject {
  const { regarding, type, reason, message } = event
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: objectName, namespace: regarding.namespace ?? 'default' },
    involvedObject: regarding,
    type,
    reason: reason.slice(0, 128),
    message: cut(message),
    source: { component, host: instance },
    reportingComponent: component,
    reportingInstance: instance,
    firstTimestamp: timestamp(firstAt),
    lastTimestamp: timestamp(lastAt),
    count,
  }
}

function namespaceOf({ event }: Series): string {
  return encodeURIComponent(event.regarding.namespace ?? 'default')
}

/** RFC 3339 in whole seconds, as Kubernetes writes it. */
function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

function cut(message: string): string {
  const bytes = Buffer.from(message)
  if (bytes.length <= maxMessageBytes) return message
  // The last character may be halved by the cut: it goes, too.
  const kept = bytes
    .subarray(0, maxMessageBytes - 3)
    .toString()
    .replace(/\uFFFD$/, '')
  return `${kept}…`
}

/** Whether it worked; false = refused with `code`. */
async function unless(code: NsmError['code'], call: Promise<unknown>): Promise<boolean> {
  try {
    await call
    return true
  } catch (err) {
    if (err instanceof NsmError && err.code === code) return false
    throw err
  }
}
