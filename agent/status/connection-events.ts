import type { Clock } from '@nsm/sdk/clock.js'
import { failureEvents, type FailureEvents } from './failure-events.ts'
import type { SidecarConnection } from './sidecar-status.ts'

/** One thing that happened to a connection of a pod, for people. */
export interface ConnectionEvent {
  readonly type: 'Normal' | 'Warning'
  readonly reason: 'NetworkServiceConnected' | 'NetworkServiceFailed' | 'NetworkServiceHealed'
  readonly message: string
}

export interface ConnectionEventsOptions {
  readonly clock: Clock
  /** What was up before has been told by whoever ran then; ms since the epoch. */
  readonly startedAtMs: number
  readonly tell: (event: ConnectionEvent) => void
}

/** Turns the states of one pod's connections into events: each change of state is told once, and a failure again while it lasts. */
export interface ConnectionEvents {
  /** Takes the newest state of a connection. */
  see(connection: SidecarConnection): void
  /** There are no others than these. */
  only(ids: ReadonlySet<string>): void
  close(): void
}

/** More events of one pod at once, and more often than this in the long run, are left out: a pod says what it likes. */
const burst = 20
const eachMs = 15_000

interface Known {
  latest: SidecarConnection
  readonly failure: FailureEvents
}

/** Nothing is known yet. */
export function connectionEvents({ clock, startedAtMs, tell }: ConnectionEventsOptions): ConnectionEvents {
  const known = new Map<string, Known>()
  const isAllowed = allowance(clock)
  const say = (type: ConnectionEvent['type'], reason: ConnectionEvent['reason'], message: string): void => {
    if (isAllowed()) tell({ type, reason, message })
  }
  const fail = (message: string): void => say('Warning', 'NetworkServiceFailed', message)
  const recover = (one: Known, before: SidecarConnection | undefined, isNews: boolean): void => {
    const wasTold = one.failure.over()
    const { reason, lastHeal, endpoint } = one.latest
    const isElsewhere = before !== undefined && before.endpoint !== endpoint
    if (!isNews) return
    if (reason !== 'Healed') say('Normal', 'NetworkServiceConnected', connectionOf(one.latest))
    else if (wasTold || isElsewhere || lastHeal?.cause === 'DataPlaneLost')
      say('Normal', 'NetworkServiceHealed', healOf(one.latest))
  }

  return {
    see(latest) {
      const one = known.get(latest.id) ?? { latest, failure: failureEvents(clock, fail) }
      const before = known.has(latest.id) ? one.latest : undefined
      const isNews =
        before === undefined
          ? latest.sinceMs >= startedAtMs
          : before.state !== 'UP' || before.sinceMs !== latest.sinceMs
      one.latest = latest
      known.set(latest.id, one)
      if (latest.state === 'UP') recover(one, before, isNews)
      else one.failure.see(latest)
    },
    only(ids) {
      for (const [id, { failure }] of known) {
        if (ids.has(id)) continue
        failure.over()
        known.delete(id)
      }
    },
    close() {
      for (const { failure } of known.values()) failure.over()
    },
  }
}

function connectionOf({ networkService, interface: name, endpoint, addresses }: SidecarConnection): string {
  const address = addresses.length === 0 ? '' : `, ${addresses.join(' ')}`
  return `${networkService}: ${name} is connected to ${endpoint}${address}`
}

function healOf(connection: SidecarConnection): string {
  const { cause, ms } = connection.lastHeal ?? { cause: 'lost', ms: 0 }
  return `${connectionOf(connection)}, after ${cause} for ${Math.round(ms)} ms`
}

function allowance(clock: Clock): () => boolean {
  let left = burst
  let filledAt = clock.now()
  return () => {
    const now = clock.now()
    left = Math.min(burst, left + Math.max(0, now - filledAt) / eachMs)
    filledAt = now
    if (left < 1) return false
    left -= 1
    return true
  }
}
