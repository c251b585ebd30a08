import type { HealthCheckResponse_ServingStatus as Status } from '@nsm/api/gen/health.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { systemClock, type Clock } from '../clock.ts'
import type { Ctx } from '../ctx.ts'
import { silent, type Logger } from '../log.ts'
import type { TokenGenerator } from '../tokens.ts'
import { keepsNoDescriptorsHeader } from './call.ts'
import { callerOf } from './caller.ts'
import { healthCheckMethod } from './methods.ts'
import type { Dial } from './remote.ts'
import { remoteServices, type Caller } from './remote-services.ts'
import { sessionPool, type Lease } from './session-pool.ts'
import type { UnixTransport } from './unix.ts'

export interface DialerOptions {
  readonly source: X509Source
  readonly tokens: TokenGenerator
  /** Needed for `unix:` alone. */
  readonly unix?: UnixTransport | undefined
  /** For TCP, TLS and HTTP/2 together (wire contract §4.1). */
  readonly dialTimeoutMs: number
  /** How long a session that nobody uses stays open for the next user; default 30 s. */
  readonly idleMs?: number
  /** Largest answer message; default 4 MiB. */
  readonly maxResponseBytes?: number
  readonly log?: Logger
  readonly clock?: Clock
}

export interface Dialer {
  readonly dial: Dial
  /** The peer's health by the standard protocol. @throws NsmError; NOT_FOUND for a service that it does not know. */
  checkHealth(ctx: Ctx, url: string, service: string): Promise<Status>
  /** Ends all sessions at once. */
  close(): void
}

const defaultIdleMs = 30_000
const defaultResponseBytes = 4 * 1024 * 1024

/** Dials peers, with this process' identity and tokens; sessions are shared as `sessionPool` says. */
export function dialer(options: DialerOptions): Dialer {
  const pool = sessionPool({
    source: options.source,
    unix: options.unix,
    dialTimeoutMs: options.dialTimeoutMs,
    idleMs: options.idleMs ?? defaultIdleMs,
    maxResponseBytes: options.maxResponseBytes ?? defaultResponseBytes,
    log: options.log ?? silent,
    clock: options.clock ?? systemClock,
  })

  return {
    async dial(ctx, url) {
      const lease = await pool.acquire(ctx, url)
      const { peer, grpc } = lease.session
      const services = remoteServices(callerFor(lease, options.tokens))
      return { url, peer, closed: grpc.closed, ...services, release: () => lease.release() }
    },
    async checkHealth(ctx, url, service) {
      const lease = await pool.acquire(ctx, url)
      try {
        const { status } = await callerFor(lease, undefined).unary(ctx, healthCheckMethod, { service })
        return status
      } finally {
        lease.release()
      }
    },
    close: () => pool.close(),
  }
}

function callerFor(lease: Lease, tokens: TokenGenerator | undefined): Caller {
  return callerOf(lease.session, tokens, {
    onHeaders: (headers) => lease.learn(headers[keepsNoDescriptorsHeader] === 'true'),
    onFailure: (answered) => lease.failed(answered),
  })
}
