import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import type { RegistryOutcome } from '@nsm/sdk/registry/log-outcome.js'
import { Counter, Gauge, Histogram } from 'prom-client'

/** What the registry counts, beside what every process does. */
export interface RegistryMetrics {
  readonly process: ProcessMetrics
  readonly ended: (outcome: RegistryOutcome) => void
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
  }
}
