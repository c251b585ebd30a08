import { NsmError } from '@nsm/sdk/errors.js'

/** What ends a call: its caller, its deadlines, the end of the client. */
export interface CallScope {
  readonly signal: AbortSignal
  /** Its turn has come: the time for its answer begins. */
  begin(): void
  /** The deadline no longer counts. */
  endless(): void
  /** The call is over. */
  close(): void
}

/** The calls that run. */
export interface CallScopes {
  /**
   * `name` is for the sentences of RESOURCE_EXHAUSTED, when its turn does not come in time, and of DEADLINE_EXCEEDED, when the
   * answer does not; `caller` ends the call, too.
   */
  open(name: string, caller: AbortSignal | undefined): CallScope
  /** Ends all that run, and all later ones. */
  abort(reason: NsmError): void
}

/** Scopes of calls that may wait for their turn for `timeoutMs`, and as long for their answer. */
export function callScopes(timeoutMs: number): CallScopes {
  const running = new Set<AbortController>()
  let aborted: NsmError | undefined
  return {
    open(name, caller) {
      const controller = new AbortController()
      const stop = (): void => controller.abort(NsmError.from(caller?.reason))
      const crowded = (): void =>
        controller.abort(
          new NsmError(
            'RESOURCE_EXHAUSTED',
            `${name}: its turn did not come within ${timeoutMs} ms, this process makes more calls than it may`,
          ),
        )
      const late = (): void =>
        controller.abort(new NsmError('DEADLINE_EXCEEDED', `${name}: no answer within ${timeoutMs} ms`))
      if (aborted !== undefined) controller.abort(aborted)
      if (caller?.aborted === true) stop()
      caller?.addEventListener('abort', stop, { once: true })
      // Holds the process, as nothing else may while a call waits to be tried again.
      let timer = setTimeout(crowded, timeoutMs)
      const disarm = (): void => clearTimeout(timer)
      running.add(controller)
      return {
        signal: controller.signal,
        begin() {
          disarm()
          timer = setTimeout(late, timeoutMs)
        },
        endless: disarm,
        close() {
          disarm()
          running.delete(controller)
          caller?.removeEventListener('abort', stop)
        },
      }
    },
    abort(reason) {
      aborted = reason
      for (const controller of running) controller.abort(reason)
    },
  }
}
