import { HealthCheckResponse_ServingStatus as Status, type HealthCheckResponse } from '@nsm/api/gen/health.js'
import type { Ctx } from '../ctx.ts'

/** Health of a process by service name; `''` stands for the whole process (gRPC health checking protocol). */
export interface Health {
  /** undefined = no such service. */
  status(service: string): Status | undefined
  /** The present state, and each change until the caller has gone. Unknown services are SERVICE_UNKNOWN, and may yet come. */
  watch(ctx: Ctx, service: string): AsyncIterable<HealthCheckResponse>
  set(service: string, status: Status): void
}

/** Keeps the state of `services`, and of the process (`''`); all start as SERVING. */
export function health(services: readonly string[]): Health {
  const states = new Map<string, Status>([['', Status.SERVING]])
  for (const service of services) states.set(service, Status.SERVING)
  const waiting = new Set<() => void>()

  const changed = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const wake = (): void => {
        waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })

  return {
    status: (service) => states.get(service),
    async *watch({ signal }, service) {
      let told: Status | undefined
      while (!signal.aborted) {
        const status = states.get(service) ?? Status.SERVICE_UNKNOWN
        if (status === told) await changed(signal)
        else yield { status: (told = status) }
      }
    },
    set(service, status) {
      states.set(service, status)
      for (const wake of waiting) wake()
    },
  }
}
