import {
  commonVariables,
  connectTo,
  identityVariables,
  unsupportedEverywhere,
  type CommonConfig,
  type IdentityConfig,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { clientPolicies } from '@nsm/sdk/process/policy-variables.js'
import { duration, list, map, optional, text, url } from '@nsm/sdk/process/variables.js'

/** Configuration of the forwarder (wire contract §7.1, §7.2 cmd-forwarder-vpp and -ovs). */
export interface ForwarderConfig extends CommonConfig, IdentityConfig {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceName: string
  readonly connectTo: string
  readonly listenOn: string
  readonly dialTimeoutMs: number
  readonly mechanismPriority: readonly string[]
  readonly clientPolicies: readonly string[]
  readonly leaveFile: string | undefined
}

const noTunnels = 'this forwarder wires the pods of one node; it has no tunnels'
const noSwitch = 'the kernel forwards; there is no switch to configure'
const noPrometheus = 'metrics are served at NSM_OPS_LISTEN_ON, without TLS'
const noSriov = 'this forwarder has no SR-IOV functions'

/** Reads it from the environment. */
export const forwarderConfig: ConfigSchema<ForwarderConfig> = defineConfig<ForwarderConfig>(
  {
    ...commonVariables(':8083'),
    ...identityVariables,
    ...connectTo('unix:///connect.to.socket'),
    name: text(
      'NSM_NAME',
      'forwarder',
      'path segment name and name of the registration; links are known by it again after a restart',
    ),
    labels: map('NSM_LABELS', 'p2p:true', 'labels of the registration'),
    serviceName: text('NSM_NSNAME', 'forwarder', 'network service that this forwarder registers'),
    listenOn: url('NSM_LISTEN_ON', 'unix:///listen.on.socket', 'where the node’s manager connects'),
    dialTimeoutMs: duration('NSM_DIAL_TIMEOUT', '750ms', 'how long a session to a peer may take to come up'),
    mechanismPriority: list(
      'NSM_MECHANISM_PRIORITY',
      '',
      'mechanism types that are offered first, in this order',
    ),
    clientPolicies: clientPolicies(),
    leaveFile: optional(
      text(
        'NSM_LEAVE_FILE',
        undefined,
        'file that says true when the forwarder is removed for good: it closes all connections, removes its interfaces, and is not ready any more',
      ),
    ),
  },
  {
    ...unsupportedEverywhere,
    NSM_TUNNEL_IP: noTunnels,
    NSM_VXLAN_PORT: noTunnels,
    NSM_VPP_API_SOCKET: noSwitch,
    NSM_VPP_INIT: noSwitch,
    NSM_VPP_INIT_PARAMS: noSwitch,
    NSM_VPP_MIN_OPERATION_TIMEOUT: noSwitch,
    NSM_BRIDGE_NAME: noSwitch,
    NSM_DEVICE_SELECTOR_FILE: 'this forwarder has no VLAN uplinks',
    NSM_L2_RESOURCE_SELECTOR_FILE: 'this forwarder has no VLAN uplinks',
    NSM_SRIOV_CONFIG_FILE: noSriov,
    NSM_PCI_DEVICES_PATH: noSriov,
    NSM_PCI_DRIVERS_PATH: noSriov,
    NSM_CGROUP_PATH: noSriov,
    NSM_VFIO_PATH: noSriov,
    NSM_RESOURCE_POLL_TIMEOUT: noSriov,
    NSM_DEVICE_PLUGIN_PATH: noSriov,
    NSM_POD_RESOURCES_PATH: noSriov,
    NSM_PROMETHEUS_LISTEN_ON: noPrometheus,
    NSM_PROMETHEUS_CA_FILE: noPrometheus,
    NSM_PROMETHEUS_KEY_FILE: noPrometheus,
    NSM_PROMETHEUS_CERT_FILE: noPrometheus,
    NSM_PROMETHEUS_MONITOR_CERTIFICATE: noPrometheus,
    NSM_PROMETHEUS_SERVER_HEADER_TIMEOUT: noPrometheus,
    NSM_PROMETHEUS_MAX_BIND_THRESHOLD: noPrometheus,
  },
)
