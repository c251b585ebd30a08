import type { Clock } from '@nsm/sdk/clock.js'
import type { SidecarConnection } from './sidecar-status.ts'
import { wordsPace } from './words-pace.ts'

/** What passes sooner is not worth an event: a request that is refused while the endpoint still starts, a manager that is restarted. */
const settleMs: Readonly<Record<string, number>> = {
  RequestFailed: 3_000,
  ControlPlaneLost: 10_000,
  DataPlaneLost: 0,
}
/** Before another reason is told of a connection whose failure is told already. */
const anotherReasonMs = 30_000
/** A failure that stays as it is: the API server forgets Events after an hour; told within 50 min it is counted up in the one that is there. */
export const reminderMs = 1_800_000

/** Tells the failure of one connection: when it has lasted, when it changes, and again while it lasts. */
export interface FailureEvents {
  /** It is not up, for a reason that may be none to tell. */
  see(connection: SidecarConnection): void
  /** It is up, or gone. Answers whether a failure was told. */
  over(): boolean
}

/** Nothing has failed yet. */
export function failureEvents(clock: Clock, tell: (message: string) => void): FailureEvents {
  let pace = wordsPace(clock)
  let latest: Failure = { reason: '', message: '' }
  let told: (Failure & { readonly atMs: number }) | undefined
  /** The one that is about to be told, by its reason. */
  let waiting: { readonly reason: string; readonly disarm: () => void } | undefined

  function rest(): void {
    waiting?.disarm()
    waiting = undefined
  }

  function tellAfter(ms: number): void {
    rest()
    if (ms <= 0) tellNow()
    else waiting = { reason: latest.reason, disarm: clock.after(ms, tellNow) }
  }

  function tellNow(): void {
    if (told?.message !== latest.message) pace.told(latest.reason)
    told = { ...latest, atMs: clock.now() }
    tell(latest.message)
    tellAfter(reminderMs)
  }

  function pauseMs(): number {
    if (told === undefined) return settleMs[latest.reason] ?? 0
    const sinceMs = clock.now() - told.atMs
    if (told.message === latest.message) return reminderMs - sinceMs
    return told.reason === latest.reason ? pace.waitMs(latest.reason) : anotherReasonMs - sinceMs
  }

  return {
    see(connection) {
      latest = failureOf(connection)
      const isSettling = told === undefined && waiting?.reason === latest.reason
      if (!Object.hasOwn(settleMs, latest.reason)) rest()
      else if (!isSettling) tellAfter(pauseMs())
    },
    over() {
      rest()
      const wasTold = told !== undefined
      told = undefined
      pace = wordsPace(clock)
      return wasTold
    },
  }
}

interface Failure {
  readonly reason: string
  /** With the service and the reason. */
  readonly message: string
}

function failureOf({ networkService, reason, message }: SidecarConnection): Failure {
  return { reason, message: `${networkService}: ${reason}: ${message}` }
}
