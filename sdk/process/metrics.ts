import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { X509Source } from '@nsm/spiffe/svid.js'
import type { MetricsText } from './ops-server.ts'
import { version } from './version.ts'

/** One finished Request or Close. */
export interface CallOutcome {
  readonly operation: 'request' | 'close'
  readonly service: string
  /** gRPC code name. */
  readonly code: string
}

/** What every daemon counts; `registry` takes the process' own metrics. Labels are bounded and hold no identities. */
export interface ProcessMetrics extends MetricsText {
  readonly registry: Registry
  /** Counts `nsm_request_total`. */
  called(outcome: CallOutcome): void
  /** Observes `nsm_connection_setup_duration_seconds`. */
  setUp(stage: string, seconds: number): void
  /** Reads `nsm_connections{state}` when asked. */
  connections(read: () => Readonly<Record<string, number>>): void
  /** Reads `nsm_svid_expiry_timestamp_seconds` when asked. */
  svid(source: X509Source): void
}

/** More services than this are counted as `other`: their names come from callers. */
const maxServices = 200

/** Starts the counts of process `app`. */
export function processMetrics(app: string): ProcessMetrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 })
  new Gauge({ name: 'nsm_build_info', help: 'Always 1.', labelNames: ['app', 'version', 'node'], registers })
    .labels(app, version, process.versions.node)
    .set(1)
  const requests = new Counter({
    name: 'nsm_request_total',
    help: 'Finished calls of NetworkService.',
    labelNames: ['operation', 'service', 'code'],
    registers,
  })
  const setup = new Histogram({
    name: 'nsm_connection_setup_duration_seconds',
    help: 'Time to set a connection up, by stage.',
    labelNames: ['stage'],
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15],
    registers,
  })
  const services = new Set<string>()
  const bounded = (service: string): string => {
    if (services.size < maxServices) services.add(service)
    return services.has(service) ? service : 'other'
  }
  return {
    registry,
    contentType: registry.contentType,
    text: () => registry.metrics(),
    called: ({ operation, service, code }) => requests.labels(operation, bounded(service), code).inc(),
    setUp: (stage, seconds) => setup.labels(stage).observe(seconds),
    connections: (read) => registry.registerMetric(connectionsGauge(read)),
    svid: (source) => registry.registerMetric(svidGauge(source)),
  }
}

function connectionsGauge(read: () => Readonly<Record<string, number>>): Gauge<'state'> {
  return new Gauge({
    name: 'nsm_connections',
    help: 'Connections by state.',
    labelNames: ['state'],
    registers: [],
    collect() {
      this.reset()
      for (const [state, count] of Object.entries(read())) this.labels(state).set(count)
    },
  })
}

function svidGauge(source: X509Source): Gauge {
  return new Gauge({
    name: 'nsm_svid_expiry_timestamp_seconds',
    help: 'When the identity in use expires.',
    registers: [],
    collect() {
      this.set(expiryOf(source))
    },
  })
}

/** Seconds since the epoch; 0 while the identity is withdrawn. */
function expiryOf(source: X509Source): number {
  try {
    return Date.parse(source.current.svids[0].certificates[0].validTo) / 1_000
  } catch {
    return 0
  }
}
