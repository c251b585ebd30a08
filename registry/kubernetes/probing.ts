import type { Clock } from '@nsm/sdk/clock.js'
import type { Outage } from './outage.ts'
import { repeat } from './repeat.ts'

/** Asks whether the API server is there. */
export interface Probing {
  /** Something failed as if it were not: asks now, but not more than once a second. */
  doubt(): void
  close(): void
}

export interface ProbingOptions {
  readonly clock: Clock
  readonly outage: Pick<Outage, 'isLost' | 'sinceAnswer'>
  /** Asks once; must not reject. */
  readonly probe: () => Promise<void>
}

/** An outage that is shorter may go unnoticed when nothing is written. */
const probeMs = 5_000
const probeAgainMs = 1_000

/** Asks each second while it is away, and otherwise when nothing was heard of it for a while. */
export function probing({ clock, outage, probe }: ProbingOptions): Probing {
  let askedAt = -Infinity
  let isAsking = false

  async function ask(): Promise<void> {
    if (isAsking) return
    isAsking = true
    askedAt = clock.monotonic()
    await probe()
    isAsking = false
  }

  const close = repeat(
    clock,
    () => (outage.isLost ? probeAgainMs : probeMs),
    async () => {
      if (outage.isLost || outage.sinceAnswer() >= probeMs) await ask()
    },
  )

  return {
    doubt() {
      if (!outage.isLost && clock.monotonic() - askedAt >= probeAgainMs) void ask()
    },
    close,
  }
}
