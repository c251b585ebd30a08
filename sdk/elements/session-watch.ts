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

/** The monitor stream for all connections of this process that go over one session. */
export interface SessionWatch {
  /** The answer ends it. */
  add(conn: Connection, listener: NextHopListener): () => void
  /** Notes whether the stream tells a loss of connection `id` while its Request runs; the answer ends that and says it. */
  expect(id: string): () => boolean
  stop(): void
}

/** How long a stream waits for the next connection, when the last one has left. */
const lingerMs = 5_000

interface Stream {
  /** Of the one connection that it is about; empty = all. */
  readonly id: string
  readonly controller: AbortController
}

interface Listening extends Place {
  readonly listener: NextHopListener
}

/**
 * Watches connections with the own segment `name` over the remote's session: the first one by its id, since a session to upstream's
 * programs has one connection alone, and with a second one all of them (§1.9: an empty id fits all).
 *
 * It is over some time after the last connection has left, or when the stream ends: then `over` is called, and nothing may be added any more.
 */
export function sessionWatch(ctx: Ctx, remote: Remote, name: string, over: () => void): SessionWatch {
  const listening = new Map<string, Listening>()
  const expected = new Map<string, { lost: boolean }>()
  let stream: Stream | undefined
  let unlinger = (): void => undefined

  /** In place of the one before, whose state the new one tells again. */
  function open(id: string): void {
    const before = stream
    const controller = new AbortController()
    const mine: Stream = { id, controller }
    const { signal } = controller
    stream = mine
    follow(background({ log: ctx.log, clock: ctx.clock, signal }), id).catch((err: unknown) => {
      if (stream !== mine) return
      over()
      if (signal.aborted) return
      ctx.log.debug({ url: remote.url, err: String(err) }, 'monitor stream ended')
      for (const { listener } of listening.values()) listener.lost()
    })
    before?.controller.abort()
  }

  async function follow(inner: Ctx, id: string): Promise<never> {
    const selector = MonitorScopeSelector.fromPartial({ pathSegments: [{ name, id }] })
    for await (const event of remote.monitor(inner, selector)) deliver(event, listening, expected)
    throw ended(inner)
  }

  return {
    add(conn, listener) {
      const one: Listening = { ...placeOf(conn), listener }
      const { id } = one
      listening.set(id, one)
      unlinger()
      if (stream === undefined) open(id)
      else if (stream.id !== '' && stream.id !== id) open('')
      return () => {
        if (listening.get(id) === one) listening.delete(id)
        if (listening.size > 0) return
        unlinger()
        unlinger = ctx.clock.after(lingerMs, () => {
          over()
          stream?.controller.abort()
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
      stream?.controller.abort()
    },
  }
}

function deliver(
  { type, connections }: ConnectionEvent,
  listening: ReadonlyMap<string, Listening>,
  expected: ReadonlyMap<string, { lost: boolean }>,
): void {
  for (const told of Object.values(connections)) {
    const lost = type === ConnectionEventType.DELETE || told.state === State.DOWN
    for (const { id } of told.path?.pathSegments ?? []) {
      const call = expected.get(id)
      if (call !== undefined && lost) call.lost = true
      const found = listening.get(id)
      const one = found && asOwn(type, told, found)
      if (one !== undefined) found?.listener.told(one)
    }
  }
}
