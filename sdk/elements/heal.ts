import { once } from 'node:events'
import { State, type Connection } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { connectionOf, type Element, type NetworkService } from '../chain.ts'
import { background, detached, valueOf, withCancel, withTimeout, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { sleep } from '../sleep.ts'
import type { Remote } from '../transport/remote.ts'
import { connectionEvents, reselecting, type ConnectionEvents } from './begin.ts'
import { connectionLoops, type Loop } from './connection-loops.ts'
import { remoteOfCall } from './dial.ts'
import { watchNextHop } from './watch-next-hop.ts'

/** What is lost: the way that calls take, or the way that packets take. */
export type Loss = 'control plane' | 'data plane'

export interface HealOptions {
  /** Whether packets pass. Without it, every loss of the control plane is taken for one of the data plane too. */
  readonly liveness?: (ctx: Ctx, conn: Connection) => Promise<boolean>
  /** Between two checks; default 200 ms. */
  readonly livenessIntervalMs?: number
  /** For one check; default 1 s. Too late is dead. */
  readonly livenessTimeoutMs?: number
  /** A reselect asks for the same endpoint again. */
  readonly keepEndpoint?: boolean
  /** Told when healing of a connection begins. */
  readonly lost?: (conn: Connection, loss: Loss) => void
}

export interface HealElement extends Element {
  /** Stops all healing. */
  stop(): void
}

/** Pauses between tries: the first ones come at once, since every one of them is lost packets. */
const firstPauseMs = 5
const longestPauseMs = 200
/** A connection that is lost as soon as it is there is not asked for again at once: it may be so each time. */
const noLifeMs = 20
const noLifePauseMs = 100
/** One that lives a little longer, time and again, is asked for at growing distances. */
const shortLifeMs = 1_000
const shortLivesAtOnce = 3
const longestRestMs = 1_000
/** Between two refreshes that the next hop asks for: it may ask each time. */
const askedPauseMs = 200

/**
 * Brings an end client's lost connections back (§4.5).
 *
 * Lost is: DOWN or deleted at the next hop, its monitor stream gone, or the liveness check negative. While packets pass the same connection is
 * asked for again; else it is closed and any endpoint will do. A Request whose monitor stream cannot be opened fails.
 */
export function heal(options: HealOptions = {}): HealElement {
  const loops = connectionLoops(() => undefined)
  /** How many times in a row a connection has lived shortly. */
  const shortLives = new Map<string, number>()

  /** When the refresh that a next hop asked for last is due. */
  const asked = new Map<string, number>()

  function untilAsked(id: string, nowMs: number): number {
    const dueMs = Math.max(nowMs, (asked.get(id) ?? -Infinity) + askedPauseMs)
    asked.set(id, dueMs)
    return dueMs - nowMs
  }

  function lived(id: string, lifeMs: number): number {
    const inARow = lifeMs < shortLifeMs ? (shortLives.get(id) ?? 0) + 1 : 0
    shortLives.set(id, inARow)
    return inARow
  }

  return {
    name: 'heal',

    async request(ctx, req, next) {
      const known = loops.has(connectionOf(req).id)
      const conn = await next.request(ctx, req)
      const events = valueOf(ctx, connectionEvents)
      if (events === undefined) return conn
      let watch: Watch
      try {
        watch = await openWatch(ctx, conn, async (inner) => {
          await sleep(inner, untilAsked(conn.id, inner.clock.now()))
          await events.request({ signal: inner.signal })
        })
      } catch (err) {
        if (!known) await closeUnwatched(ctx, conn, next)
        throw err
      }
      const quiet = background({ log: ctx.log, clock: ctx.clock })
      loops.start(conn.id, (loop) =>
        keep({ ctx: { ...quiet, signal: loop.signal }, conn, events, loop, options, lived }, watch),
      )
      return conn
    },

    async close(ctx, conn, next) {
      if (valueOf(ctx, reselecting) === undefined) {
        loops.stop(conn.id)
        shortLives.delete(conn.id)
        asked.delete(conn.id)
      }
      await next.close(ctx, conn)
    },

    stop: loops.stopAll,
  }
}

interface Kept {
  readonly ctx: Ctx
  readonly conn: Connection
  readonly events: ConnectionEvents
  readonly loop: Loop
  readonly options: HealOptions
  /** Notes how long a connection has lived; answers how many short lives it has had in a row. */
  readonly lived: (id: string, lifeMs: number) => number
}

/** Waits for a loss, then asks again until it is repaired; the Request that repairs it begins the next loop. */
async function keep(kept: Kept, watch: Watch): Promise<void> {
  const { ctx, conn, options } = kept
  const began = ctx.clock.now()
  const loss = await firstLoss(kept, watch)
  const lifeMs = ctx.clock.now() - began
  const restMs = restOf(lifeMs, kept.lived(conn.id, lifeMs))
  if (restMs > 0) await sleep(ctx, restMs)
  if (!kept.loop.current()) return
  ctx.log.warn({ connection_id: conn.id, network_service: conn.networkService, loss }, 'healing')
  options.lost?.(conn, loss)
  await repair(kept, loss === 'data plane' || options.liveness === undefined)
}

function restOf(lifeMs: number, shortLives: number): number {
  const first = lifeMs < noLifeMs ? noLifePauseMs : 0
  if (shortLives <= shortLivesAtOnce) return first
  return Math.min(noLifePauseMs * 2 ** (shortLives - shortLivesAtOnce - 1), longestRestMs)
}

async function repair(kept: Kept, hopeless: boolean): Promise<void> {
  const { ctx, conn, events, loop } = kept
  const change = reselected(kept.options)
  let reselect = hopeless
  let pauseMs = firstPauseMs
  let told = ''
  while (loop.current()) {
    reselect ||= !(await alive(kept))
    try {
      await events.request(reselect ? { ...loop.event, reselect, change } : loop.event)
      return
    } catch (err) {
      if (!loop.current()) return
      const { code, message } = NsmError.from(err)
      // Four times a second the same would say nothing more; numbers of descriptors change with each try.
      const reason = `${code} ${message.replaceAll(/\d+/g, '')}`
      if (reason !== told)
        ctx.log.warn({ connection_id: conn.id, reselect, code, err: message }, 'healing failed, trying again')
      told = reason
      await sleep(ctx, pauseMs)
      pauseMs = Math.min(pauseMs * 2, longestPauseMs)
    }
  }
}

type Checked = Pick<Kept, 'ctx' | 'conn' | 'options'>

async function alive({ ctx, conn, options }: Checked): Promise<boolean> {
  const { liveness, livenessTimeoutMs = 1_000 } = options
  try {
    return (await withTimeout(ctx, livenessTimeoutMs, async (timed) => liveness?.(timed, conn))) !== false
  } catch {
    if (ctx.signal.aborted) throw NsmError.from(ctx.signal.reason)
    return false
  }
}

/** Ends when packets do not pass any more; without a check, with the signal. */
async function dead(checked: Checked): Promise<void> {
  const { ctx, options } = checked
  if (options.liveness === undefined) return aborted(ctx.signal)
  do await sleep(ctx, options.livenessIntervalMs ?? 200)
  while (await alive(checked))
}

function reselected(options: HealOptions): (req: NetworkServiceRequest) => NetworkServiceRequest {
  return (req) => {
    const conn = connectionOf(req)
    const networkServiceEndpointName = options.keepEndpoint === true ? conn.networkServiceEndpointName : ''
    const state = State.RESELECT_REQUESTED
    return { ...req, connection: { ...conn, mechanism: undefined, networkServiceEndpointName, state } }
  }
}

/** An open monitor stream. */
interface Watch {
  /** Ends when the next hop has lost the connection, or is lost itself; rejects after `stop`. */
  readonly ended: Promise<void>
  readonly stop: () => void
}

async function firstLoss(checked: Checked, watch: Watch): Promise<Loss> {
  const { ctx } = checked
  ctx.signal.addEventListener('abort', watch.stop)
  try {
    return await withCancel(ctx, async (inner, cancel) => {
      const controlPlane = watch.ended.then((): Loss => 'control plane')
      const dataPlane = dead({ ...checked, ctx: inner }).then((): Loss => 'data plane')
      try {
        return await Promise.race([controlPlane, dataPlane])
      } finally {
        cancel(undefined)
      }
    })
  } finally {
    ctx.signal.removeEventListener('abort', watch.stop)
    watch.stop()
  }
}

/** Resolves when the stream is open; rejects when it cannot be opened, or the caller gives up. */
async function openWatch(ctx: Ctx, conn: Connection, refresh: (ctx: Ctx) => Promise<void>): Promise<Watch> {
  const remote = remoteOfCall(ctx)
  const stream = new AbortController()
  const inner = background({ log: ctx.log, clock: ctx.clock, signal: stream.signal })
  const giveUp = (): void => stream.abort(ctx.signal.reason)
  if (ctx.signal.aborted) giveUp()
  ctx.signal.addEventListener('abort', giveUp)
  let ended: Promise<void> | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      ended = watchUntilLost({ ctx: inner, remote, conn, refresh }, resolve, reject)
      ended.catch(() => undefined)
    })
  } finally {
    ctx.signal.removeEventListener('abort', giveUp)
  }
  return { ended: ended ?? Promise.resolve(), stop: () => stream.abort() }
}

interface Watching {
  readonly ctx: Ctx
  readonly remote: Remote
  readonly conn: Connection
  /** What the next hop asks for. */
  readonly refresh: (ctx: Ctx) => Promise<void>
}

async function watchUntilLost(
  { ctx, remote, conn, refresh }: Watching,
  opened: () => void,
  failed: (err: unknown) => void,
): Promise<void> {
  const { signal } = ctx
  const told = ({ state }: Connection): void => {
    if (state === State.DOWN)
      throw new NsmError('UNAVAILABLE', 'the next hop says that the connection is down')
    if (state !== State.REFRESH_REQUESTED) return
    refresh(ctx).catch((err: unknown) => {
      if (!signal.aborted)
        ctx.log.warn(
          { connection_id: conn.id, err: String(err) },
          'refresh that the next hop asked for failed',
        )
    })
  }
  try {
    await watchNextHop(ctx, remote, conn, { opened, told })
  } catch (err) {
    failed(err)
    if (NsmError.from(err).code === 'CANCELLED') await firstOf(signal, remote.closed)
    if (signal.aborted) throw NsmError.from(signal.reason)
  }
}

/** Waits until one of them aborts. */
async function firstOf(...signals: readonly AbortSignal[]): Promise<void> {
  if (signals.some(({ aborted: over }) => over)) return
  const done = new AbortController()
  await Promise.race(signals.map((signal) => once(signal, 'abort', { signal: done.signal })))
  done.abort()
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
  throw NsmError.from(signal.reason)
}

async function closeUnwatched(ctx: Ctx, conn: Connection, next: NetworkService): Promise<void> {
  try {
    await next.close(detached(ctx), conn)
  } catch (err) {
    ctx.log.warn({ connection_id: conn.id, err: String(err) }, 'close of an unwatched connection failed')
  }
}
