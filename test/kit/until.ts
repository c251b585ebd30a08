import { setTimeout as pause } from 'node:timers/promises'

/** Waits until the condition holds; rejects, naming `what`, when it does not within 10 s. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`)
    await pause(2)
  }
}
