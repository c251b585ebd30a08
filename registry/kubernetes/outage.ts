import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'

/** Time as registrations see it, which does not pass while the API server is away. */
export interface Outage {
  /** It does not answer. */
  readonly isLost: boolean
  /** It has answered for long enough: what is over may be removed. */
  readonly isOver: boolean
  /**
   * The time by which registrations end, ms since the epoch: it stands still from the last answer until `graceMs` after the
   * next one, since meanwhile nobody could write or hear of a refresh. So it does when the machine's time is set: for `graceMs`,
   * within which each endpoint hears of an end by the new one.
   */
  expiryNow(): number
  /** It has answered some call. While it is lost that proves nothing: one part of it may be there without the other. */
  heard(): void
  /** It has answered when it was asked whether it is there. Answers whether this is the first time after an outage. */
  answered(): boolean
  /** It has not. */
  failed(reason: string): void
  /** Ms since the last answer. */
  sinceAnswer(): number
}

export interface OutageOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Within which each endpoint has refreshed. */
  readonly graceMs: number
}

/** What a clock may be put right by at once without anybody noticing. */
const unnoticedMs = 5_000

/** Begins as after an outage. */
export function outage({ clock, log, graceMs }: OutageOptions): Outage {
  let answeredAt = clock.monotonic()
  let stillMs: number | undefined = clock.now()
  let backAt: number | undefined = answeredAt
  let startedMs = clock.now() - clock.monotonic()

  const isLost = (): boolean => stillMs !== undefined && backAt === undefined

  function settle(): void {
    const now = clock.monotonic()
    const setMs = clock.now() - now - startedMs
    startedMs += setMs
    const wasLost = isLost()
    if (Math.abs(setMs) > unnoticedMs) {
      log.warn(
        { set_ms: Math.round(setMs) },
        'the time of this machine was set: no registration ends for now',
      )
      // Set back, refreshed ends are before the old time.
      stillMs = Math.min(stillMs ?? clock.now() - setMs, clock.now())
      if (!wasLost) backAt = now
    } else if (backAt !== undefined && now - backAt >= graceMs) {
      stillMs = undefined
      backAt = undefined
    }
  }

  return {
    get isLost() {
      return isLost()
    },
    get isOver() {
      settle()
      return stillMs === undefined
    },
    expiryNow() {
      settle()
      return stillMs ?? clock.now()
    },
    heard() {
      if (!isLost()) answeredAt = clock.monotonic()
    },
    answered() {
      const now = clock.monotonic()
      const wasLost = isLost()
      if (wasLost) {
        backAt = now
        log.info({ away_ms: Math.round(now - answeredAt) }, 'the API server answers again')
      }
      answeredAt = now
      return wasLost
    },
    failed(reason) {
      settle()
      if (!isLost())
        log.warn({ err: reason }, 'the API server does not answer: lookups go on, no registration ends')
      stillMs ??= clock.now() - (clock.monotonic() - answeredAt)
      backAt = undefined
    },
    sinceAnswer: () => clock.monotonic() - answeredAt,
  }
}
