import { metricsText } from '@nsm/sdk/process/metrics-text.js'
import { processMetrics } from '@nsm/sdk/process/metrics.js'
import type { MetricsText } from '@nsm/sdk/process/ops-server.js'

/** What can be read at any time. */
export interface CollectorState {
  readonly prefixes: () => number
  readonly faults: () => number
}

/** The collector's metrics, beside what every process has. */
export function collectorMetrics({ prefixes, faults }: CollectorState): MetricsText {
  const process = processMetrics('prefixes')
  const own = metricsText([
    {
      name: 'nsm_excluded_prefixes',
      help: 'Prefixes that no client gets an address from.',
      type: 'gauge',
      read: () => [{ value: prefixes() }],
    },
    {
      name: 'nsm_excluded_prefixes_input_faults',
      help: 'Faults in the ConfigMap of users.',
      type: 'gauge',
      read: () => [{ value: faults() }],
    },
  ])
  return { ...process, text: async () => `${await process.text()}${await own.text()}` }
}
