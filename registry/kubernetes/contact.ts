import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { outage, type Outage } from './outage.ts'
import { repeat } from './repeat.ts'

/** One call of the API that has ended. */
export interface ApiOutcome {
  readonly operation: 'get' | 'create' | 'replace' | 'patch' | 'delete'
  readonly code: Code
}

/** The way to the API server, and whether it is there. */
export interface Contact {
  readonly client: ApiClient
  readonly outage: Pick<Outage, 'isLost' | 'isOver' | 'expiryNow'>
  close(): void
}

export interface ContactOptions {
  readonly client: ApiClient
  readonly clock: Clock
  readonly log: Logger
  /** Something small to ask for when nothing else is. */
  readonly probePath: string
  /** Life of a registration. */
  readonly graceMs: number
  readonly observe: (outcome: ApiOutcome) => void
}

/** An outage that is shorter may go unnoticed when nothing is written. */
const probeMs = 5_000
const probeAgainMs = 1_000

/** Counts calls and notices outages by them; when there are none, by asking. */
export function contact({ client, clock, log, probePath, graceMs, observe }: ContactOptions): Contact {
  const state = outage(clock, graceMs)

  function answered(): void {
    const awayMs = state.answered()
    if (awayMs !== undefined) log.info({ away_ms: awayMs }, 'the API server answers again')
  }

  function failed(err: NsmError): void {
    if (state.failed())
      log.warn({ err: err.message }, 'the API server does not answer: lookups go on, no registration ends')
  }

  async function observed<T>(operation: ApiOutcome['operation'], run: () => Promise<T>): Promise<T> {
    try {
      const answer = await run()
      answered()
      observe({ operation, code: 'OK' })
      return answer
    } catch (reason) {
      const err = NsmError.from(reason)
      if (err.code === 'UNAVAILABLE' || err.code === 'DEADLINE_EXCEEDED') failed(err)
      // Whatever else it says, it is there.
      else if (err.code !== 'CANCELLED') answered()
      observe({ operation, code: err.code })
      throw reason
    }
  }

  const watched: ApiClient = {
    ...client,
    get: async (path, signal) => observed('get', () => client.get(path, signal)),
    create: async (path, object) => observed('create', () => client.create(path, object)),
    replace: async (path, object) => observed('replace', () => client.replace(path, object)),
    patch: async (path, patch, type) => observed('patch', () => client.patch(path, patch, type)),
    delete: async (path, preconditions) => observed('delete', () => client.delete(path, preconditions)),
  }

  const close = repeat(
    clock,
    () => (state.isLost ? probeAgainMs : probeMs),
    async () => {
      if (state.isLost || state.sinceAnswer() >= probeMs) await watched.get(probePath).catch(() => undefined)
    },
  )

  return { client: watched, outage: state, close }
}
