import { setTimeout as pause } from 'node:timers/promises'

/**
 * Asks until the answer is something else than `undefined` or `false`, and answers that. A question that fails is asked again.
 * @throws after `timeoutMs` (default 2 min), naming `what` and why the last question failed.
 */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 120_000,
): Promise<T> {
  const end = Date.now() + timeoutMs
  for (;;) {
    let failure = ''
    try {
      const answer = await ask()
      if (answer !== undefined && answer !== false) return answer
    } catch (err) {
      failure = `: ${err instanceof Error ? err.message : String(err)}`
    }
    if (Date.now() > end) throw new Error(`waited in vain for ${what}${failure}`)
    await pause(200)
  }
}
