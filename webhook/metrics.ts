import { processMetrics, type ProcessMetrics } from '@nsm/sdk/process/metrics.js'
import { Counter, Gauge, Histogram } from 'prom-client'
import type { Decision } from './review.ts'

/** What the webhook counts, beside what every process does. */
export interface WebhookMetrics {
  readonly process: ProcessMetrics
  /** Without `seconds` there was no review to answer. */
  readonly admitted: (decision: Decision, seconds: number | undefined) => void
  /** `authority` = of a certificate made in process. */
  certificate(serving: () => Date, authority?: () => Date): void
}

/** Starts the counts. */
export function webhookMetrics(): WebhookMetrics {
  const process = processMetrics('webhook')
  const registers = [process.registry]
  const requests = new Counter({
    name: 'nsm_webhook_requests_total',
    help: 'Admission requests by what became of them; unanswered and error leave the pod to the failure policy.',
    labelNames: ['result', 'reason'],
    registers,
  })
  const duration = new Histogram({
    name: 'nsm_webhook_admission_duration_seconds',
    help: 'Time from a whole request to its answer.',
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1],
    registers,
  })
  return {
    process,
    admitted: ({ result, reason }, seconds) => {
      requests.labels(result, reason).inc()
      if (seconds !== undefined) duration.observe(seconds)
    },
    certificate: (serving, authority) => {
      expiryGauge(process, {
        name: 'nsm_webhook_certificate_expiry_timestamp_seconds',
        help: 'When the serving certificate expires.',
        expires: serving,
      })
      if (authority === undefined) return
      expiryGauge(process, {
        name: 'nsm_webhook_authority_expiry_timestamp_seconds',
        help: 'When the newest certificate authority of the webhook expires.',
        expires: authority,
      })
    },
  }
}

function expiryGauge(
  { registry }: ProcessMetrics,
  { name, help, expires }: { readonly name: string; readonly help: string; readonly expires: () => Date },
): void {
  registry.registerMetric(
    new Gauge({
      name,
      help,
      registers: [],
      collect() {
        this.set(expires().getTime() / 1_000)
      },
    }),
  )
}
