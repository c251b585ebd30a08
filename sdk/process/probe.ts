import type { Clock } from '../clock.ts'
import { background, withTimeout, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { sleep } from '../sleep.ts'
import type { Check } from './checks.ts'

export interface ProbeOptions {
  /** Asks once; rejects when there is no answer. */
  ask(ctx: Ctx): Promise<void>
  readonly log: Logger
  readonly clock: Clock
  /** Between two questions; default 10 s. */
  readonly intervalMs?: number
  /** The same while there is no answer; default 1 s. */
  readonly retryMs?: number
  /** For one answer; default 5 s. */
  readonly timeoutMs?: number
  /** Questions in a row that may go without answer before the check fails; default 2. */
  readonly tolerated?: number
}

export interface Probe {
  /** Why there is no answer; holds from the first one on. */
  readonly check: Check
  readonly stop: () => void
}

/** Asks again and again whether something that this process needs answers, for `/readyz`. */
export function probe(options: ProbeOptions): Probe {
  const { log, clock, intervalMs = 10_000, retryMs = 1_000, timeoutMs = 5_000, tolerated = 2 } = options
  const life = new AbortController()
  const ctx = background({ log, clock, signal: life.signal })
  let reason: string | undefined = 'not asked yet'
  let failures = tolerated

  async function once(): Promise<void> {
    try {
      await withTimeout(ctx, timeoutMs, (timed) => options.ask(timed))
      failures = 0
      reason = undefined
    } catch (err) {
      failures += 1
      if (failures > tolerated) reason = NsmError.from(err).message
    }
  }

  async function run(): Promise<void> {
    while (!ctx.signal.aborted) {
      await once()
      await sleep(ctx, failures === 0 ? intervalMs : retryMs).catch(() => undefined)
    }
  }

  void run()
  return { check: () => reason, stop: () => life.abort() }
}
