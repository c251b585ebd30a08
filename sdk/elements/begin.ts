import { State, type Connection } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { connectionOf, type Element, type NetworkService } from '../chain.ts'
import {
  background,
  detached,
  key,
  timeLeft,
  withCancel,
  withTimeout,
  withValue,
  type Ctx,
  type Key,
} from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { Refusal } from '../refusal.ts'
import { serialQueue, type SerialQueue } from '../serial-queue.ts'
import { mergeConnection } from './merge-connection.ts'
import type { Half } from './metadata.ts'

export interface EventOptions {
  /** Takes the event out of the queue, or cancels it when it runs. */
  readonly signal?: AbortSignal
  /** Asked when the turn has come; false = the event is not wanted any more and nothing happens. */
  readonly when?: () => boolean
}

export interface RequestEventOptions extends EventOptions {
  /** Alters the stored request before it is sent again. */
  readonly change?: (req: NetworkServiceRequest) => NetworkServiceRequest
  /** Closes the stored connection first, in the same turn. */
  readonly reselect?: boolean
}

/**
 * Runs calls for one connection without its caller, from `begin` on, in turn with the caller's own (§4.2).
 * Never awaited inside of a call of the same connection: that call holds the turn.
 */
export interface ConnectionEvents {
  /** Sends the stored request again; undefined when there is nothing to do any more. */
  request(options?: RequestEventOptions): Promise<Connection | undefined>
  close(options?: EventOptions): Promise<void>
}

/** Left by `begin` for the elements behind it. */
export const connectionEvents: Key<ConnectionEvents> = key('connection events')

/** Takes what is to be undone should the Request of a new connection fail, in reverse order; absent in a refresh. */
export const undoIfNew: Key<(undo: (ctx: Ctx) => Promise<void>) => void> = key('undo if new')

/** Present in a Close after which a Request follows in the same turn. */
export const reselecting: Key<true> = key('reselecting')

export interface BeginOptions {
  /** Default 16,384. */
  readonly maxConnections?: number
  /** How many calls may wait for one connection; default 32. */
  readonly maxWaiting?: number
  /** Time that an event gets when the last caller had no deadline; default 15 s. */
  readonly eventTimeoutMs?: number
}

/** One connection. It stays in the map while it is established or a call runs or waits. */
interface Entry {
  readonly id: string
  readonly queue: SerialQueue
  established: Established | undefined
  /** Stops the event that runs. */
  interrupt: ((reason: unknown) => void) | undefined
}

interface Established {
  /** With the newest answer as its connection. */
  readonly request: NetworkServiceRequest
  readonly connection: Connection
  /** What the caller got last; an event does not change it. */
  readonly returned: Connection
  /** Of the last caller that succeeded, without the caller. */
  readonly ctx: Ctx
  readonly budgetMs: number
  readonly next: NetworkService
}

/**
 * Serialises all calls and events of one connection id, and remembers the connection (§4.2).
 *
 * Close works on the stored connection and does nothing for an unknown one. A refused call (`Refusal`) changes nothing.
 * A server half closes its old next hops when a request asks to reselect, and a new connection whose caller has gone
 * meanwhile; a client half keeps what it has stored of a connection wherever the caller has not changed it.
 */
export function begin(half: Half, options: BeginOptions = {}): Element {
  const { maxConnections = 16_384, maxWaiting = 32, eventTimeoutMs = 15_000 } = options
  const entries = new Map<string, Entry>()

  function entryFor(id: string): Entry {
    if (id === '') throw new NsmError('INVALID_ARGUMENT', 'connection id is empty')
    const known = entries.get(id)
    if (known !== undefined) return known
    if (entries.size >= maxConnections) {
      throw new NsmError('RESOURCE_EXHAUSTED', `${maxConnections} connections are open already`)
    }
    const queue = serialQueue(maxWaiting)
    const entry: Entry = { id, queue, established: undefined, interrupt: undefined }
    entries.set(id, entry)
    return entry
  }

  async function inTurn<T>(entry: Entry, signal: AbortSignal, body: () => Promise<T>): Promise<T> {
    try {
      return await entry.queue.run(signal, body)
    } finally {
      if (entry.established === undefined && entry.queue.idle) entries.delete(entry.id)
    }
  }

  const events = (entry: Entry): ConnectionEvents => eventsOf(entry, inTurn)

  return {
    name: `begin ${half}`,

    async request(ctx, req, next) {
      const entry = entryFor(connectionOf(req).id)
      const budgetMs = timeLeft(ctx) || eventTimeoutMs
      return inTurn(entry, ctx.signal, async () => {
        const inner = withValue(ctx, connectionEvents, events(entry))
        const request = await prepared(half, inner, { entry, req, next })
        const connection =
          entry.established === undefined
            ? await establish(half, next, inner, request)
            : await answerOf(next, inner, request)
        entry.established = {
          request: { ...request, connection },
          connection,
          returned: connection,
          ctx: { ...background(inner), values: inner.values, signal: never },
          budgetMs,
          next,
        }
        return connection
      })
    },

    async close(ctx, conn, next) {
      const entry = entries.get(conn.id)
      if (entry === undefined) return
      if (half === 'client') entry.interrupt?.(new NsmError('CANCELLED', 'the connection is being closed'))
      await inTurn(entry, ctx.signal, async () => {
        await closeEstablished(entry, withValue(ctx, connectionEvents, events(entry)), next)
      })
    },
  }
}

const { signal: never } = background()

interface Incoming {
  readonly entry: Entry
  readonly req: NetworkServiceRequest
  readonly next: NetworkService
}

/** The request as it goes on; a server half that is asked to reselect lets go of its old next hops here. */
async function prepared(half: Half, ctx: Ctx, incoming: Incoming): Promise<NetworkServiceRequest> {
  const { entry, req, next } = incoming
  const known = entry.established
  if (known === undefined) return req
  const connection = connectionOf(req)
  if (half === 'client') {
    return { ...req, connection: mergeConnection(known.returned, connection, known.connection) }
  }
  if (connection.state === State.RESELECT_REQUESTED) {
    await closeEstablished(entry, withValue(ctx, reselecting, true), next).catch((err: unknown) => {
      if (err instanceof Refusal) throw err
      ctx.log.warn({ connection_id: entry.id, err: String(err) }, 'close before reselect failed')
    })
  }
  return req
}

/** The first Request of a connection: what it has begun does not outlive its failure. */
async function establish(
  half: Half,
  next: NetworkService,
  ctx: Ctx,
  req: NetworkServiceRequest,
): Promise<Connection> {
  const undos: ((ctx: Ctx) => Promise<void>)[] = []
  const add = (undo: (ctx: Ctx) => Promise<void>): void => void undos.push(undo)
  try {
    const connection = await answerOf(next, withValue(ctx, undoIfNew, add), req)
    if (half === 'client' || !ctx.signal.aborted) return connection
    undos.push((detachedCtx) => next.close(detachedCtx, connection))
    throw NsmError.from(ctx.signal.reason)
  } catch (err) {
    for (const undo of undos.toReversed()) {
      await undo(detached(ctx)).catch((cause: unknown) => {
        const { id } = connectionOf(req)
        ctx.log.warn({ connection_id: id, err: String(cause) }, 'close after a failed request failed')
      })
    }
    throw err
  }
}

/** Whatever comes of it, the connection is not established any more, unless the caller was refused. */
async function closeEstablished(entry: Entry, ctx: Ctx, next: NetworkService): Promise<void> {
  const known = entry.established
  if (known === undefined) return
  try {
    await next.close(ctx, known.connection)
    entry.established = undefined
  } catch (err) {
    if (!(err instanceof Refusal)) entry.established = undefined
    throw err
  }
}

async function answerOf(next: NetworkService, ctx: Ctx, req: NetworkServiceRequest): Promise<Connection> {
  return { ...(await next.request(ctx, req)), state: State.UP }
}

type InTurn = <T>(entry: Entry, signal: AbortSignal, body: () => Promise<T>) => Promise<T>

function eventsOf(entry: Entry, inTurn: InTurn): ConnectionEvents {
  async function run<T>(
    { signal = never, when }: EventOptions,
    body: (ctx: Ctx, known: Established) => Promise<T>,
  ): Promise<T | undefined> {
    return inTurn(entry, signal, async () => {
      const known = entry.established
      if (known === undefined || when?.() === false) return undefined
      return withTimeout({ ...known.ctx, signal }, known.budgetMs, (timed) =>
        withCancel(timed, async (ctx, cancel) => {
          entry.interrupt = cancel
          try {
            return await body(ctx, known)
          } finally {
            entry.interrupt = undefined
          }
        }),
      )
    })
  }

  return {
    request: (options = {}) =>
      run(options, async (ctx, known) => {
        if (options.reselect === true) await closeToReselect(ctx, known)
        const request = options.change?.(known.request) ?? known.request
        const connection = await answerOf(known.next, ctx, request)
        entry.established = { ...known, request: { ...request, connection }, connection }
        return connection
      }),
    close: (options = {}) => run(options, (ctx, known) => closeEstablished(entry, ctx, known.next)),
  }
}

/** Time for the Close before a reselect: who does not answer may be gone, and the Request is what brings packets back. */
const reselectCloseMs = 1_000

/** The connection stays known, so that its request can be tried until it succeeds. */
async function closeToReselect(ctx: Ctx, known: Established): Promise<void> {
  try {
    await withTimeout(
      withValue(ctx, reselecting, true),
      Math.min(reselectCloseMs, known.budgetMs / 4),
      (timed) => known.next.close(timed, known.connection),
    )
  } catch (err) {
    ctx.log.warn({ connection_id: known.connection.id, err: String(err) }, 'close before reselect failed')
  }
}
