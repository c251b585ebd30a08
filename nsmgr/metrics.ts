import type { ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import { Counter } from 'prom-client'

/** Starts the count of network namespaces that were taken on a caller's word; the answer counts one. */
export function unverifiedNetns({ registry }: ProcessMetrics): () => void {
  const counter = new Counter({
    name: 'nsm_nsmgr_unverified_netns_total',
    help: 'Network namespaces that callers passed and that could not be compared with their own.',
    registers: [registry],
  })
  return () => counter.inc()
}
