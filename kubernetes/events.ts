import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { ApiClient } from './api-client.ts'
import { backoff } from '@nsm/spiffe/backoff.js'
import { knownSeries, writeSeries, type RecordedEvent, type Series } from './event-series.ts'
import { tokenBucket } from './token-bucket.ts'

export type { RecordedEvent, Regarding } from './event-series.ts'

/** Tells people who look at an object what happened to it. */
export interface EventRecorder {
  /** Takes an event to be written; never throws, never waits. The same again within 50 min is counted up in the one that is there. */
  record(event: RecordedEvent): void
  /** Events that were not written: too many, or refused. */
  readonly dropped: number
  /** Writes what waits, for a second at most, and stops. */
  close(): Promise<void>
}

export interface EventRecorderOptions {
  readonly client: ApiClient
  /** As `nsm-webhook`. */
  readonly component: string
  /** Name of the pod or the node. */
  readonly instance: string
  readonly log: Logger
  readonly clock?: Clock
}

const maxWaiting = 256
/** A process with much to say must not be what the API server is busy with. */
const rate = { perSecond: 2, burst: 20 }
/** The server would have forgotten it by then. */
const maxAgeMs = 3_600_000
const closeMs = 1_000

/** Writes core/v1 Events, one after another and not many a second; equal ones become one with a count. */
export function eventRecorder(options: EventRecorderOptions): EventRecorder {
  const { log, clock = systemClock } = options
  const seriesOf = knownSeries()
  const waiting = new Set<Series>()
  const end = new AbortController()
  const { signal } = end
  const bucket = tokenBucket(rate, clock)
  let dropped = 0
  let closing: Promise<void> | undefined
  let writing: Promise<void> | undefined

  /** One at a time: what happens again meanwhile is counted into what waits. Only the end of the recorder ends it early. */
  async function writeAll(): Promise<void> {
    const retry = backoff({ minMs: 500, maxMs: 10_000, random: Math.random })
    for (const series of waiting) {
      if (!(await unlessClosed(bucket.take(signal)))) break
      waiting.delete(series)
      if (await tryToWrite(series)) retry.reset()
      else if (!(await unlessClosed(sleep({ clock, signal }, retry.next())))) break
    }
    writing = undefined
  }

  /** false = not now: it waits behind the others, since it may be the only one that the server does not take. */
  async function tryToWrite(series: Series): Promise<boolean> {
    try {
      await writeSeries(series, options)
    } catch (reason) {
      const err = NsmError.from(reason)
      if (isPassing(err) && clock.now() - series.lastAt <= maxAgeMs) {
        waiting.add(series)
        return false
      }
      dropped += 1
      log.warn({ code: err.code, err: err.message, reason: series.event.reason }, 'an event was not written')
    }
    return true
  }

  async function finish(): Promise<void> {
    const late = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    const disarm = clock.after(closeMs, () => end.abort(new NsmError('CANCELLED', 'the recorder was closed')))
    await Promise.race([writing, late])
    disarm()
  }

  return {
    record(event) {
      if (closing !== undefined) return
      const series = seriesOf(event, clock.now())
      if (waiting.size >= maxWaiting && !waiting.has(series)) {
        dropped += 1
        if (dropped % 100 === 1) log.warn({ dropped }, 'there are more events than can be written')
        return
      }
      waiting.add(series)
      writing ??= writeAll()
    },
    get dropped() {
      return dropped
    },
    close: () => (closing ??= finish()),
  }
}

/** false = the recorder was closed before. */
function unlessClosed(wait: Promise<void>): Promise<boolean> {
  return wait.then(
    () => true,
    () => false,
  )
}

/** The server can't be reached or has too much to do: that ends by itself. */
function isPassing({ code }: NsmError): boolean {
  return code === 'UNAVAILABLE' || code === 'DEADLINE_EXCEEDED' || code === 'RESOURCE_EXHAUSTED'
}
