import { backoff } from '@nsm/spiffe/backoff.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Output } from './output.ts'

export interface KeepWrittenOptions {
  readonly output: Output
  /** What is to stand there; undefined = not known yet: what is there stays. */
  readonly text: () => string | undefined
  readonly clock: Clock
  readonly log: Logger
}

/** Keeps an output as it should be. */
export interface KeptOutput {
  /** `text` may answer something else now. */
  changed(): void
  /** Why the output isn't as it should be; undefined = it is. */
  fault(): string | undefined
  close(): void
}

/** Changes come in swarms: nodes of a cluster that starts. */
const settleMs = 100
/** How often the output is looked at for what others did to it. */
const lookMs = 300_000

/** Writes what differs, after each change and when somebody else changed the output; a failure is tried again, later each time. */
export function keepWritten({ output, text, clock, log }: KeepWrittenOptions): KeptOutput {
  const retry = backoff({ minMs: 500, maxMs: 60_000, random: Math.random })
  let fault: string | undefined = 'nothing is written yet: not all sources are known'
  /** What stands there as far as is known. */
  let written: string | undefined
  /** Only of an idle one a change makes work; the others come to it by themselves. */
  let state: 'idle' | 'settling' | 'busy' | 'failing' | 'closed' = 'idle'
  let isDue = false
  let disarm: () => void = () => undefined

  function schedule(next: 'idle' | 'settling' | 'failing', ms: number): void {
    if (state === 'closed') return
    state = next
    disarm()
    disarm = clock.after(ms, () => void step(next !== 'settling'))
  }

  async function step(isToBeRead: boolean): Promise<void> {
    state = 'busy'
    isDue = false
    try {
      await bringAbout(isToBeRead)
      retry.reset()
      if (isDue) schedule('settling', settleMs)
      else schedule('idle', lookMs)
    } catch (err) {
      fault = NsmError.from(err).message
      const retryMs = Math.round(retry.next())
      log.warn({ output: output.name, err: fault, retry_ms: retryMs }, 'excluded prefixes not written')
      schedule('failing', retryMs)
    }
  }

  async function bringAbout(isToBeRead: boolean): Promise<void> {
    const wanted = text()
    if (wanted === undefined) return
    if (isToBeRead || written === undefined) written = await output.read()
    if (written !== wanted) {
      written = undefined
      await output.write(wanted)
      written = wanted
      log.info({ output: output.name, bytes: wanted.length }, 'excluded prefixes written')
    }
    fault = undefined
  }

  return {
    changed() {
      isDue = true
      if (state === 'idle') schedule('settling', settleMs)
    },
    fault: () => fault,
    close() {
      state = 'closed'
      disarm()
    },
  }
}
