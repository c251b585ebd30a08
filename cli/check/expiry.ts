import { age } from '../output/age.ts'
import { fault, ok, warning, type Finding } from './finding.ts'

/** Something that expires, and when it is late: it should have been renewed by then. */
export interface Expiring {
  /** As in "… is valid until". */
  readonly what: string
  /** Milliseconds since 1970. */
  readonly expiresMs: number
  /** Less than this left is worth a look. */
  readonly soonMs: number
  readonly hint: string
}

/** Whether it is still valid for long enough. */
export function expiry({ what, expiresMs, soonMs, hint }: Expiring, nowMs: number): Finding {
  const left = expiresMs - nowMs
  if (left <= 0) return fault(`${what} expired ${age(-left)} ago`, hint)
  const sentence = `${what} is valid for another ${age(left)}`
  return left < soonMs ? warning(`${sentence} only`, hint) : ok(sentence)
}
