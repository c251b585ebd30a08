import type { Clock } from '../clock.ts'
import { NsmError } from '../errors.ts'

/** Handshakes under way. */
export interface Handshakes {
  readonly size: number
  run(work: (signal: AbortSignal) => Promise<void>): Promise<void>
  abort(reason: NsmError): void
}

/**
 * Bounds handshakes in number and time. The oldest gives way to a new one: peers that only connect and stay silent
 * then can't keep the others out.
 */
export function handshakes(limits: { max: number; timeoutMs: number }, clock: Clock): Handshakes {
  const { max, timeoutMs } = limits
  /** Oldest first. */
  const running = new Set<AbortController>()

  return {
    get size() {
      return running.size
    },
    async run(work) {
      const [oldest] = running
      if (running.size >= max && oldest !== undefined) {
        running.delete(oldest)
        oldest.abort(new NsmError('RESOURCE_EXHAUSTED', `more than ${max} handshakes at once`))
      }
      const controller = new AbortController()
      running.add(controller)
      const late = new NsmError('DEADLINE_EXCEEDED', `handshake took more than ${timeoutMs} ms`)
      const disarm = clock.after(timeoutMs, () => controller.abort(late))
      try {
        await work(controller.signal)
      } finally {
        disarm()
        running.delete(controller)
      }
    },
    abort(reason) {
      for (const controller of running) controller.abort(reason)
    },
  }
}
