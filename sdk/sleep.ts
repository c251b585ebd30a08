import type { Ctx } from './ctx.ts'
import { NsmError } from './errors.ts'

/** Waits `ms` by the context's clock. Rejects with the signal's reason when the context ends first. */
export async function sleep(ctx: Pick<Ctx, 'clock' | 'signal'>, ms: number): Promise<void> {
  const { clock, signal } = ctx
  if (signal.aborted) throw NsmError.from(signal.reason)
  await new Promise<void>((resolve, reject) => {
    const stop = (): void => {
      disarm()
      reject(NsmError.from(signal.reason))
    }
    const disarm = clock.after(ms, () => {
      signal.removeEventListener('abort', stop)
      resolve()
    })
    signal.addEventListener('abort', stop, { once: true })
  })
}
