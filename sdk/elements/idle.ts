import { connectionOf, type Element } from '../chain.ts'
import type { Clock } from '../clock.ts'

export interface Idle {
  readonly element: Element
  /** Stops waiting. */
  stop(): void
}

/** Calls `onIdle` once when there has been no connection for `timeoutMs`, from the start on; 0 = never. */
export function idle(timeoutMs: number, clock: Clock, onIdle: () => void): Idle {
  const live = new Set<string>()
  let running = 0
  let disarm: () => void = () => undefined

  function settled(): void {
    disarm()
    if (timeoutMs > 0 && live.size === 0 && running === 0) disarm = clock.after(timeoutMs, onIdle)
  }

  async function during<T>(call: () => Promise<T>): Promise<T> {
    running++
    settled()
    try {
      return await call()
    } finally {
      running--
      settled()
    }
  }

  settled()
  return {
    stop: () => disarm(),
    element: {
      name: 'idle',
      request: (ctx, req, next) =>
        during(async () => {
          const answer = await next.request(ctx, req)
          live.add(connectionOf(req).id)
          return answer
        }),
      close: (ctx, conn, next) =>
        during(async () => {
          try {
            await next.close(ctx, conn)
          } finally {
            live.delete(conn.id)
          }
        }),
    },
  }
}
