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
const maxTries = 5
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
    for (const series of waiting) {
      if (!(await turn())) break
      waiting.delete(series)
      await writePatiently(series, options, { clock, signal }).catch((reason: unknown) => {
        dropped += 1
        const { code, message } = NsmError.from(reason)
        log.warn({ code, err: message, reason: series.event.reason }, 'an event was not written')
      })
    }
    writing = undefined
  }

  function turn(): Promise<boolean> {
    return bucket.take(signal).then(
      () => true,
      () => false,
    )
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

/** Tries some times while the server can't be reached or has too much to do. */
async function writePatiently(
  series: Series,
  writer: EventRecorderOptions,
  until: Parameters<typeof sleep>[0],
): Promise<void> {
  const retry = backoff({ minMs: 500, maxMs: 10_000, random: Math.random })
  for (let tries = 1; ; tries += 1) {
    try {
      await writeSeries(series, writer)
      return
    } catch (err) {
      if (tries === maxTries || !isPassing(NsmError.from(err))) throw err
      await sleep(until, retry.next())
    }
  }
}

function isPassing({ code }: NsmError): boolean {
  return code === 'UNAVAILABLE' || code === 'DEADLINE_EXCEEDED' || code === 'RESOURCE_EXHAUSTED'
}
