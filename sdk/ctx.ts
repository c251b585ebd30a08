import { setMaxListeners } from 'node:events'
import { systemClock, type Clock } from './clock.ts'
import { NsmError } from './errors.ts'
import { silent, type Logger } from './log.ts'
import type { Peer } from './peer.ts'

/** A typed name for a value that one element leaves for another. */
export interface Key<T> {
  readonly description: string
  /** Never present: carries the type. */
  readonly type?: T
}

/** Makes a key; two keys with one description are still two keys. */
export function key<T>(description: string): Key<T> {
  return { description }
}

/** What accompanies one call through a chain. Never mutated: `with…` functions answer a copy. */
export interface Ctx {
  /** Aborts when the caller gives up, for any reason. */
  readonly signal: AbortSignal
  /** When the caller gives up, in ms since the epoch by `clock`; undefined = never. */
  readonly deadlineMs: number | undefined
  readonly clock: Clock
  readonly log: Logger
  /** Who called; undefined in calls that did not come over gRPC. */
  readonly peer: Peer | undefined
  readonly values: ReadonlyMap<Key<unknown>, unknown>
}

/** Every context without a caller waits on it, so it has many listeners at a time. */
const never = new AbortController().signal
setMaxListeners(0, never)

/** A context without caller, deadline or values. */
export function background(options: { log?: Logger; clock?: Clock; signal?: AbortSignal } = {}): Ctx {
  return {
    signal: options.signal ?? never,
    deadlineMs: undefined,
    clock: options.clock ?? systemClock,
    log: options.log ?? silent,
    peer: undefined,
    values: new Map(),
  }
}

export function withValue<T>(ctx: Ctx, name: Key<T>, value: T): Ctx {
  return { ...ctx, values: new Map(ctx.values).set(name, value) }
}

export function valueOf<T>(ctx: Ctx, name: Key<T>): T | undefined {
  return ctx.values.get(name) as T | undefined
}

export function withLog(ctx: Ctx, fields: Readonly<Record<string, unknown>>): Ctx {
  return { ...ctx, log: ctx.log.child(fields) }
}

/** Milliseconds until the deadline, never negative; undefined = no deadline. */
export function timeLeft(ctx: Ctx): number | undefined {
  return ctx.deadlineMs === undefined ? undefined : Math.max(0, ctx.deadlineMs - ctx.clock.now())
}

/**
 * Runs `body` under a context that aborts after `ms`, or earlier with its parent.
 * Listener and timer are gone when the body has ended.
 */
export async function withTimeout<T>(ctx: Ctx, ms: number, body: (ctx: Ctx) => Promise<T>): Promise<T> {
  const deadlineMs = Math.min(ctx.deadlineMs ?? Infinity, ctx.clock.now() + ms)
  return withCancel(ctx, async (inner, cancel) => {
    const disarm = ctx.clock.after(ms, () =>
      cancel(new NsmError('DEADLINE_EXCEEDED', `no answer within ${ms} ms`)),
    )
    try {
      return await body({ ...inner, deadlineMs })
    } finally {
      disarm()
    }
  })
}

/** Runs `body` under a context that it can cancel by itself; aborts with its parent too. */
export async function withCancel<T>(
  ctx: Ctx,
  body: (ctx: Ctx, cancel: (reason: unknown) => void) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const follow = (): void => controller.abort(ctx.signal.reason)
  if (ctx.signal.aborted) follow()
  else ctx.signal.addEventListener('abort', follow, { once: true })
  try {
    return await body({ ...ctx, signal: controller.signal }, (reason) => controller.abort(reason))
  } finally {
    ctx.signal.removeEventListener('abort', follow)
  }
}

/**
 * The same call without its caller: not cancelled with it, with `budgetMs` of its own (default: what the call had left, or 15 s).
 * For clean-up that must run to its end. The peer stays, since policies need it.
 */
export function detached(ctx: Ctx, budgetMs: number = timeLeft(ctx) || 15_000): Ctx {
  return { ...ctx, signal: AbortSignal.timeout(budgetMs), deadlineMs: ctx.clock.now() + budgetMs }
}
