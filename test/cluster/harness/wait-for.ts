import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { deadline } from './deadline.ts'

/**
 * Asks until the answer is something else than `undefined` or `false`, and answers that. A question that fails is asked again;
 * one that is not answered is given up with the rest, and its signal is aborted then.
 * @throws after `timeoutMs` (default 2 min), naming `what` and why the last question failed.
 */
export async function waitFor<T>(
  what: string,
  ask: (signal: AbortSignal) => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 120_000,
): Promise<T> {
  const { signal, clear } = deadline(timeoutMs)
  const late = once(signal, 'abort').then(() => undefined)
  let failure = ': the question was not answered'
  try {
    while (!signal.aborted) {
      try {
        const answer = await Promise.race([late, ask(signal)])
        if (answer !== undefined && answer !== false) return answer
        if (!signal.aborted) failure = ''
      } catch (err) {
        failure = `: ${err instanceof Error ? err.message : String(err)}`
      }
      await pause(200)
    }
  } finally {
    clear()
  }
  throw new Error(`waited in vain for ${what}${failure}`)
}
