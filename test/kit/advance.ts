import type { HandClock } from './clock.ts'
import { settled } from './settled.ts'

/** Moves the clock on in steps of 100 ms at most, and lets what falls due on the way settle after each. */
export async function advance(clock: HandClock, ms: number): Promise<void> {
  await settled()
  let left = ms
  do {
    const step = Math.min(100, left)
    clock.advance(step)
    await settled()
    left -= step
  } while (left > 0)
}
