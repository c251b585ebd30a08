import { chain, type ConnectionMonitor, type Element, type NetworkService } from '../chain.ts'
import { authorizeServer } from '../elements/authorize.ts'
import { begin, type BeginOptions } from '../elements/begin.ts'
import { hopTime } from '../elements/hop-time.ts'
import { limit, type LimitOptions } from '../elements/limit.ts'
import { logOutcome, type Outcome } from '../elements/log-outcome.ts'
import { metadata } from '../elements/metadata.ts'
import { monitor, type MonitorOptions } from '../elements/monitor.ts'
import { timeout } from '../elements/timeout.ts'
import { trimPath } from '../elements/trim-path.ts'
import { updatePath } from '../elements/update-path.ts'
import { updateToken } from '../elements/update-token.ts'
import type { Policy, TokenPath } from '../policies/policy.ts'
import type { TokenGenerator } from '../tokens.ts'

export interface ServerChainOptions {
  /** Path segment name of this process; the same for both halves. */
  readonly name: string
  readonly tokens: TokenGenerator
  /** What this process does, from the outside in; usually ends with `connectTo` a client or with an endpoint's own elements. */
  readonly elements: readonly Element[]
  /** Default `serverPolicies`. */
  readonly policies?: readonly Policy<TokenPath>[]
  /** Of the process as a whole. */
  readonly limits?: BeginOptions
  /** Of each caller. */
  readonly callerLimits?: LimitOptions
  readonly monitor?: MonitorOptions
  /** Told of each call that ended. */
  readonly observe?: (outcome: Outcome) => void
}

export interface ServerChain {
  readonly service: NetworkService
  readonly monitor: ConnectionMonitor
  /** Connections by state. */
  readonly counts: () => Readonly<Record<'up' | 'down', number>>
  /** Stops timers and ends monitor streams; connections stay as they are. */
  close(): void
}

/** The chain that every NetworkService server has (§3.2), around what one process does. */
export function serverChain(options: ServerChainOptions): ServerChain {
  const timeouts = timeout()
  const monitored = monitor(options.monitor)
  const service = chain([
    logOutcome(options.observe),
    updatePath(options.name),
    hopTime(),
    begin('server', options.limits),
    updateToken(options.tokens),
    authorizeServer(options.policies),
    limit(options.callerLimits),
    metadata('server'),
    timeouts,
    monitored.element,
    trimPath(),
    ...options.elements,
  ])
  return {
    service,
    monitor: monitored.monitor,
    counts: monitored.counts,
    close() {
      timeouts.stop()
      monitored.close()
    },
  }
}
