import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { outage, type Outage } from './outage.ts'
import { probing } from './probing.ts'

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

/** What a call fails with when there may be nobody who answers; but also when something else is in the way of that one. */
const unclear: ReadonlySet<Code> = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED'])
/** Of this process' own making. */
const saysNothing: ReadonlySet<Code> = new Set(['CANCELLED', 'RESOURCE_EXHAUSTED'])

/** Counts calls, and notices outages by asking: each time that a call fails as if there were one, and when nothing was heard for a while. */
export function contact(options: ContactOptions): Contact {
  const { client, asking, clock, log, probePath, graceMs, observe } = options
  const state = outage({ clock, log, graceMs })
  const backListeners: (() => void)[] = []
  const probes = probing({ clock, outage: state, probe })

  async function observed<T>(operation: ApiOutcome['operation'], run: () => Promise<T>): Promise<T> {
    try {
      const answer = await run()
      state.heard()
      observe({ operation, code: 'OK' })
      return answer
    } catch (reason) {
      const { code } = NsmError.from(reason)
      if (unclear.has(code)) probes.doubt()
      else if (!saysNothing.has(code)) state.heard()
      observe({ operation, code })
      throw reason
    }
  }

  async function probe(): Promise<void> {
    const { code, message } = await asking.get(probePath).then(
      () => ({ code: 'OK' as const, message: '' }),
      (reason: unknown) => NsmError.from(reason),
    )
    observe({ operation: 'get', code })
    if (code === 'CANCELLED') return
    if (unclear.has(code)) state.failed(message)
    // Whatever else it says, it is there.
    else if (state.answered()) for (const listener of backListeners) listener()
  }

  const watched: ApiClient = {
    ...client,
    get: async (path, signal) => observed('get', () => client.get(path, signal)),
    create: async (path, object) => observed('create', () => client.create(path, object)),
    replace: async (path, object) => observed('replace', () => client.replace(path, object)),
    patch: async (path, patch, type) => observed('patch', () => client.patch(path, patch, type)),
    delete: async (path, preconditions) => observed('delete', () => client.delete(path, preconditions)),
  }

  return {
    client: watched,
    outage: state,
    onBack: (listener) => void backListeners.push(listener),
    close: () => probes.close(),
  }
}
