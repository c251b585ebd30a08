import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'

/** One call of the API that has ended. */
export interface ApiOutcome {
  readonly operation: 'get' | 'create' | 'replace' | 'patch' | 'delete'
  readonly code: Code
}

/** Whether the API server answers. */
export interface Contact {
  /** The same API; each call tells whether there is contact. */
  readonly client: ApiClient
  /** Calls fail for want of contact. */
  readonly isLost: boolean
  /**
   * The time by which registrations end, ms since the epoch: it stands still while the API server is away and until
   * `graceMs` after it has come back, since meanwhile nobody could write or hear of a refresh.
   */
  expiryNow(): number
  /** Contact has lasted for `graceMs`: what is over may be removed. */
  readonly isSettled: boolean
  close(): void
}

export interface ContactOptions {
  readonly client: ApiClient
  readonly clock: Clock
  readonly log: Logger
  /** Something small to ask for when nothing else is. */
  readonly probePath: string
  /** Life of a registration: within that each endpoint has refreshed. */
  readonly graceMs: number
  readonly observe: (outcome: ApiOutcome) => void
}

/** An outage that is shorter than this may go unnoticed when nothing is written; own writes that fail meanwhile are repeated within it. */
const probeMs = 10_000
const probeAgainMs = 2_000
const lost: readonly Code[] = ['UNAVAILABLE', 'DEADLINE_EXCEEDED']

/** Begins as after an outage. */
export function contact({ client, clock, log, probePath, graceMs, observe }: ContactOptions): Contact {
  let lastGoodMs = clock.now()
  /** Where expiry stands still. */
  let stillMs: number | undefined = lastGoodMs
  let backMs: number | undefined = lastGoodMs
  let isClosed = false

  function succeeded(): void {
    lastGoodMs = clock.now()
    if (!isLost()) return
    backMs = lastGoodMs
    log.info({ away_ms: lastGoodMs - (stillMs ?? lastGoodMs) }, 'the API server answers again')
  }

  function failed(err: NsmError): void {
    if (!isLost())
      log.warn(
        { err: err.message },
        'the API server does not answer: lookups go on, registrations do not end',
      )
    stillMs ??= lastGoodMs
    backMs = undefined
  }

  function settle(): void {
    if (backMs === undefined || clock.now() - backMs < graceMs) return
    stillMs = undefined
    backMs = undefined
  }

  async function observed<T>(operation: ApiOutcome['operation'], run: () => Promise<T>): Promise<T> {
    try {
      const answer = await run()
      succeeded()
      observe({ operation, code: 'OK' })
      return answer
    } catch (reason) {
      const err = NsmError.from(reason)
      const { code } = err
      // Whatever else it says, it has answered.
      if (lost.includes(code)) failed(err)
      else if (code !== 'CANCELLED') succeeded()
      observe({ operation, code })
      throw reason
    }
  }

  const watched: ApiClient = {
    ...client,
    get: (path, signal) => observed('get', () => client.get(path, signal)),
    create: (path, object) => observed('create', () => client.create(path, object)),
    replace: (path, object) => observed('replace', () => client.replace(path, object)),
    patch: (path, patch, type) => observed('patch', () => client.patch(path, patch, type)),
    delete: (path, preconditions) => observed('delete', () => client.delete(path, preconditions)),
  }

  let disarm = clock.after(probeMs, probe)

  function probe(): void {
    const isDue = isLost() || clock.now() - lastGoodMs >= probeMs
    const answered = isDue
      ? watched.get(probePath).then(
          () => undefined,
          () => undefined,
        )
      : Promise.resolve()
    void answered.then(() => {
      if (!isClosed) disarm = clock.after(isLost() ? probeAgainMs : probeMs, probe)
    })
  }

  function isLost(): boolean {
    return stillMs !== undefined && backMs === undefined
  }

  return {
    client: watched,
    get isLost() {
      return isLost()
    },
    get isSettled() {
      settle()
      return stillMs === undefined
    },
    expiryNow() {
      settle()
      return stillMs ?? clock.now()
    },
    close() {
      isClosed = true
      disarm()
    },
  }
}
