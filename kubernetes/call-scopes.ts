import { NsmError } from '@nsm/sdk/errors.js'

/** What ends a call: its caller, its deadline, the end of the client. */
export interface CallScope {
  readonly signal: AbortSignal
  /** The deadline no longer counts. */
  endless(): void
  /** The call is over. */
  close(): void
}

/** The calls that run. */
export interface CallScopes {
  /** `name` is for the sentence of DEADLINE_EXCEEDED; `caller` ends the call, too. */
  open(name: string, caller: AbortSignal | undefined): CallScope
  /** Ends all that run, and all later ones. */
  abort(reason: NsmError): void
}

/** Scopes of calls that may take `timeoutMs`. */
export function callScopes(timeoutMs: number): CallScopes {
  const running = new Set<AbortController>()
  let aborted: NsmError | undefined
  return {
    open(name, caller) {
      const controller = new AbortController()
      const stop = (): void => controller.abort(NsmError.from(caller?.reason))
      const late = (): void =>
        controller.abort(new NsmError('DEADLINE_EXCEEDED', `${name}: no answer within ${timeoutMs} ms`))
      if (aborted !== undefined) controller.abort(aborted)
      if (caller?.aborted === true) stop()
      caller?.addEventListener('abort', stop, { once: true })
      // Holds the process, as nothing else may while a call waits to be tried again.
      const timer = setTimeout(late, timeoutMs)
      const disarm = (): void => clearTimeout(timer)
      running.add(controller)
      return {
        signal: controller.signal,
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
