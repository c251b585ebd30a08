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
  /** Calls when it answers again after an outage. */
  onBack(listener: () => void): void
  close(): void
}

export interface ContactOptions {
  readonly client: ApiClient
  /** Asks whether the API server is there: not behind the calls of others. */
  readonly asking: ApiClient
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

/** What a call fails with when there may be nobody who answers; but also when something else is in the way of that one. */
const unclear: ReadonlySet<Code> = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED'])
/** Of this process' own making. */
const saysNothing: ReadonlySet<Code> = new Set(['CANCELLED', 'RESOURCE_EXHAUSTED'])

/** Counts calls, and notices outages by asking: each time that a call fails as if there were one, and when nothing was heard for a while. */
export function contact(options: ContactOptions): Contact {
  const { client, asking, clock, log, probePath, graceMs, observe } = options
  const state = outage({ clock, log, graceMs })
  let askedAt = -Infinity
  let isAsking = false
  const backListeners: (() => void)[] = []

  async function observed<T>(operation: ApiOutcome['operation'], run: () => Promise<T>): Promise<T> {
    try {
      const answer = await run()
      state.heard()
      observe({ operation, code: 'OK' })
      return answer
    } catch (reason) {
      const { code } = NsmError.from(reason)
      if (unclear.has(code)) doubt()
      else if (!saysNothing.has(code)) state.heard()
      observe({ operation, code })
      throw reason
    }
  }

  function doubt(): void {
    if (!state.isLost && clock.monotonic() - askedAt >= probeAgainMs) void ask()
  }

  async function ask(): Promise<void> {
    if (isAsking) return
    isAsking = true
    askedAt = clock.monotonic()
    const code = await probe()
    isAsking = false
    observe({ operation: 'get', code })
  }

  function answered(): void {
    if (state.answered()) for (const listener of backListeners) listener()
  }

  async function probe(): Promise<Code> {
    try {
      await asking.get(probePath)
      answered()
      return 'OK'
    } catch (reason) {
      const { code, message } = NsmError.from(reason)
      if (unclear.has(code)) state.failed(message)
      // Whatever else it says, it is there.
      else if (code !== 'CANCELLED') answered()
      return code
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
      if (state.isLost || state.sinceAnswer() >= probeMs) await ask()
    },
  )

  return {
    client: watched,
    outage: state,
    onBack: (listener) => void backListeners.push(listener),
    close,
  }
}
