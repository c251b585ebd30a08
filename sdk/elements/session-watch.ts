import { MonitorScopeSelector, type Connection, type ConnectionEvent } from '@nsm/api/gen/connection.js'
import { background, type Ctx } from '../ctx.ts'
import type { Remote } from '../transport/remote.ts'
import type { NextHopListener } from './monitor-client.ts'
import { asOwn, ended } from './watch-next-hop.ts'

/** One monitor stream for all connections of this process that go over one session. */
export interface SessionWatch {
  /** The answer ends it. */
  add(conn: Connection, listener: NextHopListener): () => void
  stop(): void
}

/** How long a stream waits for the next connection, when the last one has left. */
const lingerMs = 5_000

interface Listening {
  readonly id: string
  readonly index: number
  readonly listener: NextHopListener
}

/**
 * Opens a stream about all connections with the own segment `name`, over the remote's session (§1.9: an empty id fits all).
 * It is over some time after the last connection has left, or when the stream ends: then `over` is called, and nothing may be added any more.
 */
export function sessionWatch(ctx: Ctx, remote: Remote, name: string, over: () => void): SessionWatch {
  const listening = new Map<string, Listening>()
  const stream = new AbortController()
  const { signal } = stream
  let unlinger = (): void => undefined
  const quiet = background({ log: ctx.log, clock: ctx.clock, signal })

  function tell(event: ConnectionEvent): void {
    for (const told of Object.values(event.connections)) {
      for (const { id } of told.path?.pathSegments ?? []) {
        const found = listening.get(id)
        const one = found && asOwn(event.type, told, found)
        if (one !== undefined) found?.listener.told(one)
      }
    }
  }

  async function run(): Promise<never> {
    const selector = MonitorScopeSelector.fromPartial({ pathSegments: [{ name }] })
    for await (const event of remote.monitor(quiet, selector)) tell(event)
    throw ended(quiet)
  }

  run().catch((err: unknown) => {
    over()
    if (signal.aborted) return
    ctx.log.debug({ url: remote.url, err: String(err) }, 'monitor stream ended')
    for (const { listener } of listening.values()) listener.lost()
  })

  return {
    add({ id, path }, listener) {
      const one: Listening = { id, index: path?.index ?? 0, listener }
      listening.set(id, one)
      unlinger()
      return () => {
        if (listening.get(id) === one) listening.delete(id)
        if (listening.size > 0) return
        unlinger()
        unlinger = ctx.clock.after(lingerMs, () => {
          over()
          stream.abort()
        })
      }
    },
    stop() {
      unlinger()
      stream.abort()
    },
  }
}
