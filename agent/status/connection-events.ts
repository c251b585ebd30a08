import type { Backoff } from '@nsm/spiffe/backoff.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { SidecarConnection } from './sidecar-status.ts'
import { wordsPace } from './words-pace.ts'

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

/** What passes sooner is not worth an event: a request that is refused while the endpoint still starts, a manager that is restarted. */
const settleMs: Readonly<Record<string, number>> = {
  RequestFailed: 3_000,
  ControlPlaneLost: 10_000,
  DataPlaneLost: 0,
}
/** Before another reason is told of a connection whose failure is told already. */
const anotherReasonMs = 30_000
/** A failure that stays as it is: the API server forgets Events after an hour; told within 50 min it is counted up in the one that is there. */
const reminderMs = 1_800_000
/** More events of one pod at once, and more often than this in the long run, are left out: a pod says what it likes. */
const burst = 20
const eachMs = 15_000

interface Known {
  latest: SidecarConnection
  /** The failure that was told and is not over. */
  told: Told | undefined
  /** The one that is about to be told, by its reason. */
  waiting: { readonly reason: string; readonly disarm: () => void } | undefined
  readonly pace: Backoff
}

interface Told {
  readonly reason: string
  readonly message: string
  readonly atMs: number
  /** Before other words of the same reason. */
  readonly pauseMs: number
}

/** Nothing is known yet. */
export function connectionEvents({ clock, startedAtMs, tell }: ConnectionEventsOptions): ConnectionEvents {
  const known = new Map<string, Known>()
  const isAllowed = allowance(clock)
  const say = (type: ConnectionEvent['type'], reason: ConnectionEvent['reason'], message: string): void => {
    if (isAllowed()) tell({ type, reason, message })
  }

  const wait = (one: Known, ms: number): void => {
    one.waiting?.disarm()
    one.waiting = { reason: one.latest.reason, disarm: clock.after(ms, () => tellFailure(one)) }
  }
  const tellFailure = (one: Known): void => {
    const { told, pace } = one
    const { reason } = one.latest
    const message = failureOf(one.latest)
    if (told?.reason !== reason) pace.reset()
    one.told = {
      reason,
      message,
      atMs: clock.now(),
      pauseMs: told?.message === message ? told.pauseMs : pace.next(),
    }
    say('Warning', 'NetworkServiceFailed', message)
    wait(one, reminderMs)
  }
  const fail = (one: Known): void => {
    const { told, waiting, latest } = one
    if (told === undefined && waiting?.reason === latest.reason) return
    const ms =
      told === undefined ? (settleMs[latest.reason] ?? 0) : told.atMs + pauseOf(told, latest) - clock.now()
    if (ms <= 0) tellFailure(one)
    else wait(one, ms)
  }
  const rest = (one: Known): void => {
    one.waiting?.disarm()
    one.waiting = undefined
  }
  const recover = (one: Known, before: SidecarConnection | undefined, isNews: boolean): void => {
    const wasTold = one.told !== undefined
    rest(one)
    one.told = undefined
    const { reason, lastHeal, endpoint } = one.latest
    const isElsewhere = before !== undefined && before.endpoint !== endpoint
    if (!isNews) return
    if (reason !== 'Healed') say('Normal', 'NetworkServiceConnected', connectionOf(one.latest))
    else if (wasTold || isElsewhere || lastHeal?.cause === 'DataPlaneLost')
      say('Normal', 'NetworkServiceHealed', healOf(one.latest))
  }

  return {
    see(latest) {
      const one = known.get(latest.id) ?? { latest, told: undefined, waiting: undefined, pace: wordsPace() }
      const before = known.has(latest.id) ? one.latest : undefined
      const isNews =
        before === undefined
          ? latest.sinceMs >= startedAtMs
          : before.state !== 'UP' || before.sinceMs !== latest.sinceMs
      one.latest = latest
      known.set(latest.id, one)
      if (latest.state === 'UP') recover(one, before, isNews)
      else if (Object.hasOwn(settleMs, latest.reason)) fail(one)
      else rest(one)
    },
    only(ids) {
      for (const [id, { waiting }] of known) {
        if (ids.has(id)) continue
        waiting?.disarm()
        known.delete(id)
      }
    },
    close() {
      for (const one of known.values()) rest(one)
    },
  }
}

function pauseOf({ reason, message, pauseMs }: Told, latest: SidecarConnection): number {
  if (failureOf(latest) === message) return reminderMs
  return latest.reason === reason ? pauseMs : anotherReasonMs
}

function connectionOf({ networkService, interface: name, endpoint, addresses }: SidecarConnection): string {
  const address = addresses.length === 0 ? '' : `, ${addresses.join(' ')}`
  return `${networkService}: ${name} is connected to ${endpoint}${address}`
}

function failureOf({ networkService, reason, message }: SidecarConnection): string {
  return `${networkService}: ${reason}: ${message}`
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
