import {
  ConnectionEventType,
  MonitorScopeSelector,
  State,
  type Connection,
  type ConnectionEvent,
} from '@nsm/api/gen/connection.js'
import { background, type Ctx } from '../ctx.ts'
import type { Remote } from '../transport/remote.ts'
import type { NextHopListener } from './monitor-client.ts'
import { asOwn, ended, placeOf, type Place } from './watch-next-hop.ts'

/** One monitor stream for all connections of this process that go over one session. */
export interface SessionWatch {
  /** The answer ends it. */
  add(conn: Connection, listener: NextHopListener): () => void
  /** Notes whether the stream tells a loss of connection `id` while its Request runs; the answer ends that and says it. */
  expect(id: string): () => boolean
  stop(): void
}

/** How long a stream waits for the next connection, when the last one has left. */
const lingerMs = 5_000

interface Listening extends Place {
  readonly listener: NextHopListener
}

/**
 * Opens a stream about all connections with the own segment `name`, over the remote's session (§1.9: an empty id fits all).
 * It is over some time after the last connection has left, or when the stream ends: then `over` is called, and nothing may be added any more.
 */
export function sessionWatch(ctx: Ctx, remote: Remote, name: string, over: () => void): SessionWatch {
  const listening = new Map<string, Listening>()
  const expected = new Map<string, { lost: boolean }>()
  const stream = new AbortController()
  const { signal } = stream
  let unlinger = (): void => undefined
  const quiet = background({ log: ctx.log, clock: ctx.clock, signal })

  function tell(event: ConnectionEvent): void {
    for (const told of Object.values(event.connections)) {
      const lost = event.type === ConnectionEventType.DELETE || told.state === State.DOWN
      for (const { id } of told.path?.pathSegments ?? []) {
        const call = expected.get(id)
        if (call !== undefined && lost) call.lost = true
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
    add(conn, listener) {
      const one: Listening = { ...placeOf(conn), listener }
      const { id } = one
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
    expect(id) {
      const call = { lost: false }
      expected.set(id, call)
      return () => {
        if (expected.get(id) === call) expected.delete(id)
        return call.lost
      }
    },
    stop() {
      unlinger()
      stream.abort()
    },
  }
}
