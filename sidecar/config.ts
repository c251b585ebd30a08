import { parseAwarenessGroups, parseNsUrls, type NsUrl } from '@nsm/api/nsurl.js'
import {
  commonVariables,
  connectTo,
  identityVariables,
  placementVariables,
  unsupportedEverywhere,
  type CommonConfig,
  type IdentityConfig,
  type PlacementConfig,
} from '@nsm/sdk/process/common-variables.js'
import type { RequiredServices } from '@nsm/api/required-services.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import {
  boolean,
  choice,
  custom,
  duration,
  list,
  signedDuration,
  text,
  type Variable,
} from '@nsm/sdk/process/variables.js'
import { isIP } from 'node:net'
import type { ListenAddress } from './dns/embedded.ts'

/** Configuration of the sidecar (wire contract §7.1, §7.2 cmd-nsc). */
export interface SidecarConfig extends CommonConfig, IdentityConfig, PlacementConfig {
  readonly name: string
  /** URL of the node's manager. */
  readonly connectTo: string
  readonly dialTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly networkServices: readonly NsUrl[]
  readonly required: RequiredServices
  readonly awarenessGroups: readonly (readonly NsUrl[])[]
  readonly livenessEnabled: boolean
  readonly livenessIntervalMs: number
  readonly livenessTimeoutMs: number
  readonly dnsEnabled: boolean
  readonly dnsListenOn: ListenAddress
  readonly dnsMode: 'embedded' | 'coredns'
  /** Empty = those of resolv.conf, which is then taken over while services bring names. */
  readonly dnsClusterServers: readonly string[]
  readonly dnsTimeoutMs: number
  readonly dnsResolvConfPath: string
  readonly dnsCorefilePath: string
  readonly dnsCorednsMetrics: string
}

/** Reads it from the environment. */
export const sidecarConfig: ConfigSchema<SidecarConfig> = defineConfig<SidecarConfig>(
  {
    ...commonVariables(':9080'),
    ...identityVariables,
    // A negative one is upstream's way of trying out what happens to tokens that are over.
    maxTokenLifetimeMs: signedDuration(
      'NSM_MAX_TOKEN_LIFETIME',
      '10m',
      'longest life of a token that this process makes',
    ),
    ...placementVariables,
    ...connectTo(),
    name: text('NSM_NAME', 'nsc', 'path segment name; connection ids begin with it'),
    dialTimeoutMs: duration(
      'NSM_DIAL_TIMEOUT',
      '5s',
      'how long a session to the manager may take to come up',
    ),
    requestTimeoutMs: duration('NSM_REQUEST_TIMEOUT', '15s', 'how long one try of a Request may take'),
    networkServices: kernelUrls(
      'NSM_NETWORK_SERVICES',
      'comma-separated network service URLs, such as kernel://db/nsm-1',
    ),
    required: text(
      'NSM_REQUIRED',
      'true',
      'connections that the pod’s start waits for (/startupz): true = all, false = none, else a comma-separated list of network services or interfaces',
    ),
    awarenessGroups: awarenessGroups(
      'NSM_AWARENESS_GROUPS',
      '[url,url],[url]: those of a group may get overlapping addresses',
    ),
    livenessEnabled: boolean('NSM_LIVENESS_CHECK_ENABLED', 'true', 'whether to test that packets pass'),
    livenessIntervalMs: duration('NSM_LIVENESS_CHECK_INTERVAL', '200ms', 'time between two tests'),
    livenessTimeoutMs: duration('NSM_LIVENESS_CHECK_TIMEOUT', '1s', 'longest time that a test may take'),
    dnsEnabled: boolean(
      'NSM_LOCAL_DNS_SERVER_ENABLED',
      'true',
      'whether names that services bring resolve in the pod, beside the cluster’s',
    ),
    dnsListenOn: address(
      'NSM_LOCAL_DNS_SERVER_ADDRESS',
      '127.0.0.1:53',
      'where the pod’s names are answered; 127.0.0.1 brings [::1] with it',
    ),
    dnsMode: choice(
      'NSM_DNS_MODE',
      'embedded',
      'who answers: this process (embedded), or a CoreDNS with the fanout plugin for which a Corefile is written (coredns)',
      ['embedded', 'coredns'],
    ),
    dnsClusterServers: list(
      'NSM_DNS_CLUSTER_SERVERS',
      '',
      'addresses of the cluster’s resolvers, when the pod’s dnsConfig points here; else resolv.conf tells them, and is taken over while services bring names',
    ),
    dnsTimeoutMs: duration('NSM_DNS_TIMEOUT', '2s', 'longest wait for one DNS server'),
    dnsResolvConfPath: text('NSM_DNS_RESOLV_CONF_PATH', '/etc/resolv.conf', 'the pod’s resolv.conf'),
    dnsCorefilePath: text(
      'NSM_DNS_COREFILE_PATH',
      '/etc/coredns/Corefile',
      'where the Corefile is written, for NSM_DNS_MODE=coredns',
    ),
    dnsCorednsMetrics: text(
      'NSM_DNS_COREDNS_METRICS',
      ':9153',
      'where CoreDNS is to serve its metrics, for NSM_DNS_MODE=coredns',
    ),
  },
  {
    ...unsupportedEverywhere,
    NSM_LABELS: 'labels are written into the network service URLs',
    NSM_MECHANISM: 'the mechanism is the scheme of each network service URL',
  },
)

function address(name: string, fallback: string, meaning: string): Variable<ListenAddress> {
  const read = (value: string): ListenAddress => {
    const [, host = '', port = ''] = /^\[?([0-9a-fA-F:.]+)\]?:(\d{1,5})$/.exec(value) ?? []
    if (isIP(host) === 0 || Number(port) < 1 || Number(port) > 65_535)
      throw new Error('must be an address with a port, such as 127.0.0.1:53')
    return { host, port: Number(port) }
  }
  return custom('address', read, [name, fallback, meaning])
}

function kernelUrls(name: string, meaning: string): Variable<readonly NsUrl[]> {
  const read = (value: string): readonly NsUrl[] => {
    const urls = rephrased(() => parseNsUrls(value))
    const other = urls.find(({ mechanism }) => mechanism !== 'KERNEL')
    if (other === undefined) return urls
    throw new Error(`must be kernel:// URLs; this sidecar has no ${other.mechanism.toLowerCase()}`)
  }
  return custom('network service URLs', read, [name, undefined, meaning])
}

function awarenessGroups(name: string, meaning: string): Variable<readonly (readonly NsUrl[])[]> {
  return custom('groups of URLs', (value) => rephrased(() => parseAwarenessGroups(value)), [
    name,
    '',
    meaning,
  ])
}

/** Faults of variables begin with what must be. */
function rephrased<T>(read: () => T): T {
  try {
    return read()
  } catch (err) {
    throw new Error(`must be well-formed: ${err instanceof Error ? err.message : String(err)}`, {
      cause: err,
    })
  }
}
