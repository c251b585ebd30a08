import { metricsText, type Metric, type Sample } from '@nsm/sdk/process/metrics-text.js'
import type { MetricsText } from '@nsm/sdk/process/ops-server.js'
import { version } from '@nsm/sdk/process/version.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import type { ConnectionStatus } from './status.ts'
import type { StatusBoard } from './status-board.ts'

const states = ['CONNECTING', 'UP', 'HEALING', 'CLOSED'] as const

/** The sidecar's metrics, read from its status; no identities in labels. */
export function sidecarMetrics(
  board: StatusBoard,
  source: X509Source,
  more: readonly Metric[] = [],
): MetricsText {
  return metricsText([...processMetrics(source), ...connectionMetrics(board), ...more])
}

function processMetrics(source: X509Source): readonly Metric[] {
  return [
    {
      name: 'nsm_build_info',
      help: 'Always 1.',
      type: 'gauge',
      read: () => [{ labels: { app: 'sidecar', version, node: process.versions.node }, value: 1 }],
    },
    {
      name: 'nsm_svid_expiry_timestamp_seconds',
      help: 'When the identity in use expires.',
      type: 'gauge',
      read: () => expiryOf(source),
    },
  ]
}

function connectionMetrics(board: StatusBoard): readonly Metric[] {
  const connections = (): readonly ConnectionStatus[] => board.read().connections
  const each = (value: (connection: ConnectionStatus) => number | undefined): readonly Sample[] =>
    connections().flatMap((connection) => {
      const number = value(connection)
      const labels = { service: connection.networkService, interface: connection.interface ?? '' }
      return number === undefined ? [] : [{ labels, value: number }]
    })
  return [
    {
      name: 'nsm_connections',
      help: 'Connections by state.',
      type: 'gauge',
      read: () =>
        states.map((state) => ({
          labels: { state: state.toLowerCase() },
          value: connections().filter((connection) => connection.state === state).length,
        })),
    },
    {
      name: 'nsm_request_total',
      help: 'Finished Requests.',
      type: 'counter',
      read: () => [
        ...each(({ requests }) => requests.succeeded).map((sample) => withResult(sample, 'ok')),
        ...each(({ requests }) => requests.failed).map((sample) => withResult(sample, 'error')),
      ],
    },
    {
      name: 'nsm_connection_setup_last_duration_seconds',
      help: 'Time of the last successful Request over all hops.',
      type: 'gauge',
      read: () => each(({ requestMs }) => (requestMs === null ? undefined : requestMs / 1_000)),
    },
    {
      name: 'nsm_heal_total',
      help: 'Losses that were repaired.',
      type: 'counter',
      read: () => each(({ heals }) => heals.count),
    },
    {
      name: 'nsm_heal_last_duration_seconds',
      help: 'Time that the last repair took.',
      type: 'gauge',
      read: () => each(({ heals }) => (heals.last === null ? undefined : heals.last.ms / 1_000)),
    },
  ]
}

function withResult({ labels, value }: Sample, result: string): Sample {
  return { labels: { ...labels, result }, value }
}

/** Nothing while the identity is withdrawn. */
function expiryOf(source: X509Source): readonly Sample[] {
  try {
    return [{ value: Date.parse(source.current.svids[0].certificates[0].validTo) / 1_000 }]
  } catch {
    return []
  }
}
