import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import type { Code } from '@nsm/sdk/errors.js'
import type { RegistryOutcome } from '@nsm/sdk/registry/log-outcome.js'
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** What the registry counts, beside what every process does. */
export interface RegistryMetrics {
  readonly process: ProcessMetrics
  readonly ended: (outcome: RegistryOutcome) => void
  /** Counts of a store in Kubernetes, once there is one. */
  kubernetes(now: () => KubernetesState): KubernetesMetrics
}

/** What can be read at any time. */
export interface KubernetesState {
  /** Refreshes that wait to be written. */
  readonly waiting: number
  readonly isConnected: boolean
}

export interface KubernetesMetrics {
  readonly called: (outcome: { readonly operation: string; readonly code: Code }) => void
  readonly expired: () => void
}

/** Starts the counts. @param objects how many there are now, by kind */
export function registryMetrics(objects: () => Readonly<Record<string, number>>): RegistryMetrics {
  const process = processMetrics('registry')
  const registers = [process.registry]
  const calls = new Counter({
    name: 'nsm_registry_calls_total',
    help: 'Finished calls of Register and Unregister.',
    labelNames: ['kind', 'operation', 'code'],
    registers,
  })
  const duration = new Histogram({
    name: 'nsm_registry_call_duration_seconds',
    help: 'Time from a whole Register or Unregister to its answer.',
    labelNames: ['kind', 'operation'],
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
    registers,
  })
  process.registry.registerMetric(
    new Gauge({
      name: 'nsm_registry_objects',
      help: 'Registered objects.',
      labelNames: ['kind'],
      registers: [],
      collect() {
        for (const [kind, count] of Object.entries(objects())) this.labels(kind).set(count)
      },
    }),
  )
  return {
    process,
    ended({ what, call, code, ms }) {
      calls.labels(what, call, code).inc()
      duration.labels(what, call).observe(ms / 1000)
    },
    kubernetes: (now) => kubernetesMetrics(process.registry, now),
  }
}

function kubernetesMetrics(registry: Registry, now: () => KubernetesState): KubernetesMetrics {
  const registers = [registry]
  const calls = new Counter({
    name: 'nsm_registry_kubernetes_calls_total',
    help: 'Finished calls of the API server but for watches; ABORTED and ALREADY_EXISTS are conflicts, which are tried again.',
    labelNames: ['operation', 'code'],
    registers,
  })
  const expired = new Counter({
    name: 'nsm_registry_expired_total',
    help: 'Registrations that were not refreshed and that this replica removed from Kubernetes.',
    registers,
  })
  registry.registerMetric(
    new Gauge({
      name: 'nsm_registry_refreshes_waiting',
      help: 'Refreshes that wait to be written to Kubernetes.',
      registers: [],
      collect() {
        this.set(now().waiting)
      },
    }),
  )
  registry.registerMetric(
    new Gauge({
      name: 'nsm_registry_kubernetes_up',
      help: '1 while the API server answers; while it does not, lookups go on and registrations do not end.',
      registers: [],
      collect() {
        this.set(now().isConnected ? 1 : 0)
      },
    }),
  )
  return {
    called: ({ operation, code }) => calls.labels(operation, code).inc(),
    expired: () => expired.inc(),
  }
}
