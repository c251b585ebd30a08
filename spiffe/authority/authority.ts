import type { X509Certificate } from 'node:crypto'
import { machineClock, type Clock } from '../clock.ts'
import { SpiffeError, reasonOf } from '../errors.ts'
import { openCa } from './ca.ts'
import { callerOf, type CallerSocket } from './caller.ts'
import { memoryRootStore, type RootStore } from './root-store.ts'
import { subscribers, type Attest } from './subscribers.ts'
import { serveConnection } from './workload-service.ts'

/** Listens on a unix socket; Node's own listener knows no peer credentials. */
export type ListenUnix = (
  path: string,
  options: { mode?: number },
  onConnection: (socket: CallerSocket) => void,
) => Promise<{ close(): Promise<void> }>

export interface AuthorityOptions {
  readonly trustDomain: string
  /** Of the Workload API's socket. */
  readonly socketPath: string
  readonly listen: ListenUnix
  readonly attest: Attest
  /** Access to the socket; default 0o777: who may have an identity is `attest`'s decision. */
  readonly socketMode?: number
  /** Default 1 h; renewed at half of it. */
  readonly svidLifeMs?: number
  /** Default 7 days; renewed at half of it. */
  readonly rootLifeMs?: number
  /** How long a new root is only published before it signs; default 1 min. */
  readonly rootSpreadMs?: number
  /** Where the roots and their keys are kept; default: they end with the process. */
  readonly rootStore?: RootStore
  /** A root is renewed up to this much late, so that authorities which share a store do not all try at once; default 0. */
  readonly renewalJitterMs?: number
  /** Hears of attestations that failed, of connections above the limit, and of roots that could not be made or kept. */
  readonly onProblem?: (err: SpiffeError) => void
  readonly clock?: Clock
}

/** A running authority. */
export interface Authority {
  readonly trustDomain: string
  /** Roots whose signatures count now. */
  readonly roots: readonly X509Certificate[]
  /** Ends the streams of a workload that is gone, with PERMISSION_DENIED; what it holds lives out its time. */
  revoke(id: string): void
  /** Publishes a new root now and signs with it after `rootSpreadMs`. */
  rotateRoot(): Promise<void>
  close(): Promise<void>
}

const hourMs = 3_600_000
const maxConnections = 4096

/**
 * Starts a CA for one trust domain (EC P-256) with the X.509 part of the Workload API before it; what it does not serve is
 * Unimplemented. @throws SpiffeError FAILED_PRECONDITION (root store), INVALID_ARGUMENT (options), or what `listen` throws.
 */
export async function startAuthority(options: AuthorityOptions): Promise<Authority> {
  const { trustDomain, attest, clock = machineClock, onProblem = () => undefined } = options
  const ca = await openCa({
    trustDomain,
    clock,
    svidLifeMs: options.svidLifeMs ?? hourMs,
    rootLifeMs: options.rootLifeMs ?? 7 * 24 * hourMs,
    rootSpreadMs: options.rootSpreadMs ?? 60_000,
    store: options.rootStore ?? memoryRootStore(),
    renewalJitterMs: options.renewalJitterMs ?? 0,
    onProblem,
  })
  const streams = subscribers({ ca, attest, clock, onProblem })
  const connections = new Map<CallerSocket, () => Promise<void>>()

  const accept = (socket: CallerSocket): void => {
    // A client that breaks off is nobody's problem.
    socket.on('error', () => undefined)
    if (connections.size >= maxConnections) {
      onProblem(new SpiffeError('RESOURCE_EXHAUSTED', `more than ${maxConnections} connections at once`))
      socket.destroy()
      return
    }
    connections.set(socket, serveConnection({ socket, caller: callerOf(socket), ca, streams, clock }))
    socket.once('close', () => {
      void connections.get(socket)?.()
      connections.delete(socket)
    })
  }
  const listener = await options
    .listen(options.socketPath, { mode: options.socketMode ?? 0o777 }, accept)
    .catch((err: unknown) => {
      ca.close()
      throw new SpiffeError('UNAVAILABLE', `cannot listen on ${options.socketPath}: ${reasonOf(err)}`, {
        cause: err,
      })
    })

  return {
    trustDomain: ca.trustDomain,
    get roots() {
      return ca.roots
    },
    revoke: (id) => streams.revoke(id),
    rotateRoot: async () => ca.rotate(),
    async close() {
      ca.close()
      const released = listener.close()
      streams.close()
      await Promise.all([...connections.values()].map(async (stop) => stop()))
      await released
    },
  }
}
