import type { EventRecorder } from '@nsm/kubernetes/events.js'
import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import { Counter, Gauge } from 'prom-client'
import type { AttestationResult } from './identity/attest.ts'
import type { NodeIdentity } from './identity/identity.ts'
import type { FollowedPods } from './status/follow-pods.ts'

/** What is counted when somebody asks; what is off is absent. */
export interface Counted {
  readonly pods?: { readonly size: number }
  readonly followed?: FollowedPods | undefined
  readonly identity?: Pick<NodeIdentity, 'expiresMs'> | undefined
  readonly events?: Pick<EventRecorder, 'dropped'> | undefined
}

/** What the agent counts, beside what every process does. */
export interface AgentMetrics {
  readonly process: ProcessMetrics
  readonly attested: (result: AttestationResult) => void
}

/** Starts the counts. */
export function agentMetrics(read: () => Counted): AgentMetrics {
  const process = processMetrics('agent')
  const { registry } = process
  const attestations = new Counter({
    name: 'nsm_agent_attestations_total',
    help: 'Callers of the Workload API, by result: identified, refused, or unknown while the API server is away.',
    labelNames: ['result'],
    registers: [registry],
  })
  const gauge = (name: string, help: string, value: () => number | undefined): void =>
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          const now = value()
          if (now !== undefined) this.set(now)
        },
      }),
    )
  gauge('nsm_agent_pods', 'Pods of this node.', () => read().pods?.size)
  gauge('nsm_agent_sidecars', 'Sidecars whose status is followed.', () => read().followed?.counts.followed)
  gauge(
    'nsm_agent_unreachable_sidecars',
    'Those that could not be reached for a minute.',
    () => read().followed?.counts.unreachable,
  )
  gauge(
    'nsm_agent_dropped_events',
    'Events that were not written: too many, or refused.',
    () => read().events?.dropped,
  )
  gauge(
    'nsm_agent_root_expiry_timestamp_seconds',
    'When the newest root of the trust domain expires.',
    () => {
      const expiresMs = read().identity?.expiresMs
      return expiresMs === undefined ? undefined : expiresMs / 1_000
    },
  )
  return { process, attested: (result) => attestations.labels(result).inc() }
}
