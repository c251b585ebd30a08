import type { Clock } from '@nsm/sdk/clock.js'

/** Time as registrations see it, which does not pass while the API server is away. */
export interface Outage {
  /** It does not answer. */
  readonly isLost: boolean
  /** It has answered for long enough: what is over may be removed. */
  readonly isOver: boolean
  /**
   * The time by which registrations end, ms since the epoch: it stands still from the last answer until `graceMs` after the
   * next one, since meanwhile nobody could write or hear of a refresh.
   */
  expiryNow(): number
  /** Answers how long it was away, in ms, when this is the first answer after an outage. */
  answered(): number | undefined
  /** Answers whether this is news. */
  failed(): boolean
  /** Ms since the last answer. */
  sinceAnswer(): number
}

/** Begins as after an outage. @param graceMs within which each endpoint has refreshed */
export function outage(clock: Clock, graceMs: number): Outage {
  let answeredMs = clock.now()
  let stillMs: number | undefined = answeredMs
  let backMs: number | undefined = answeredMs

  function end(): void {
    if (backMs === undefined || clock.now() - backMs < graceMs) return
    stillMs = undefined
    backMs = undefined
  }

  const isLost = (): boolean => stillMs !== undefined && backMs === undefined

  return {
    get isLost() {
      return isLost()
    },
    get isOver() {
      end()
      return stillMs === undefined
    },
    expiryNow() {
      end()
      return stillMs ?? clock.now()
    },
    answered() {
      const wasLost = isLost()
      const awayMs = clock.now() - answeredMs
      answeredMs = clock.now()
      if (!wasLost) return undefined
      backMs = answeredMs
      return awayMs
    },
    failed() {
      end()
      const isNews = !isLost()
      stillMs ??= answeredMs
      backMs = undefined
      return isNews
    },
    sinceAnswer: () => clock.now() - answeredMs,
  }
}
