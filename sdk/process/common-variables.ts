import type { Unsupported, Variables } from './config.ts'
import { duration, logLevel, optional, text, url, type LogLevel } from './variables.ts'

/** What every process is configured with (wire contract §7.1). */
export interface CommonConfig {
  readonly logLevel: LogLevel
  /** See `opsServer`. */
  readonly opsListenOn: string
}

/** What every process with an identity is configured with (wire contract §7.1). */
export interface IdentityConfig {
  readonly spiffeEndpointSocket: string
  readonly maxTokenLifetimeMs: number
}

/** What goes into the client-info labels (wire contract §5.1). */
export interface PlacementConfig {
  readonly nodeName: string | undefined
  readonly podName: string | undefined
  readonly clusterName: string | undefined
}

/** @param opsListenOn the process' own default address of health and metrics */
export function commonVariables(opsListenOn: string): Variables<CommonConfig> {
  return {
    logLevel: logLevel(
      'NSM_LOG_LEVEL',
      'INFO',
      'least level that is logged; SIGUSR1 sets TRACE, SIGUSR2 sets this again',
    ),
    opsListenOn: text(
      'NSM_OPS_LISTEN_ON',
      opsListenOn,
      'where /healthz, /livez, /readyz and /metrics are served: host:port, :port, unix:///path, or off',
    ),
  }
}

export const identityVariables: Variables<IdentityConfig> = {
  spiffeEndpointSocket: text(
    'SPIFFE_ENDPOINT_SOCKET',
    undefined,
    'address of the SPIFFE Workload API, such as unix:///run/spire/sockets/agent.sock',
  ),
  maxTokenLifetimeMs: duration(
    'NSM_MAX_TOKEN_LIFETIME',
    '10m',
    'longest life of a token that this process makes',
  ),
}

export const placementVariables: Variables<PlacementConfig> = {
  nodeName: optional(text('NODE_NAME', undefined, 'name of the node, for the label nodeName')),
  podName: optional(text('POD_NAME', undefined, 'name of the pod, for the label podName')),
  clusterName: optional(text('CLUSTER_NAME', undefined, 'name of the cluster, for the label clusterName')),
}

/** The node's manager, for clients, endpoints and forwarders (wire contract §7.1). */
export function connectTo(
  fallback = 'unix:///var/lib/networkservicemesh/nsm.io.sock',
): Variables<{ connectTo: string }> {
  return { connectTo: url('NSM_CONNECT_TO', fallback, 'where the node’s manager listens') }
}

const noTelemetry = 'telemetry is not exported; read /metrics instead'
const noPprof = 'this process has no pprof'
const builtInPolicies = 'the policies of the contract are built in'

/** Variables of other implementations that no process of ours reads. */
export const unsupportedEverywhere: Unsupported = {
  TELEMETRY: noTelemetry,
  NSM_OPEN_TELEMETRY_ENDPOINT: noTelemetry,
  NSM_METRICS_EXPORT_INTERVAL: noTelemetry,
  NSM_PPROF_ENABLED: noPprof,
  NSM_PPROF_LISTEN_ON: noPprof,
  NSM_REGISTRY_SERVER_POLICIES: builtInPolicies,
  NSM_REGISTRY_CLIENT_POLICIES: builtInPolicies,
}
