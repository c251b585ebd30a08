import { commonVariables, type CommonConfig } from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema, type Variables } from '@nsm/sdk/process/config.js'
import {
  boolean,
  choice,
  custom,
  duration,
  integer,
  optional,
  text,
  type Variable,
} from '@nsm/sdk/process/variables.js'
import { parseTrustDomain } from '@nsm/spiffe/spiffe-id.js'

/** Configuration of the node's agent. */
export interface AgentConfig extends CommonConfig, IdentityConfig, CsiConfig, EventsConfig {
  readonly nodeName: string
  /** Namespace of the Secret; undefined = the one that this process runs in. */
  readonly namespace: string | undefined
  readonly kubeconfig: string | undefined
  /** Calls to the API server a second, in the long run. */
  readonly qps: number
  readonly leaveFile: string | undefined
}

/** How the node's workloads get their identities. */
export interface IdentityConfig {
  readonly identity: 'embedded' | 'off'
  readonly trustDomain: string
  /** Name of the Secret with the roots. */
  readonly identitySecret: string
  /** Path of the Workload API's socket. */
  readonly identitySocket: string
  readonly svidLifeMs: number
  readonly rootLifeMs: number
}

/** Whether and where pods get sockets mounted. */
export interface CsiConfig {
  readonly csi: boolean
  readonly kubeletFolder: string
  /** What pods get from the driver of the manager's socket. */
  readonly managerFolder: string
}

/** What of the pods' connections is told to Kubernetes. */
export interface EventsConfig {
  readonly events: boolean
  /** Condition for every pod with a sidecar, not only for those with the readiness gate. */
  readonly podCondition: boolean
}

/** Reads it from the environment. */
export const agentConfig: ConfigSchema<AgentConfig> = defineConfig<AgentConfig>({
  ...commonVariables(':8084'),
  nodeName: text('NODE_NAME', undefined, 'name of the node that this agent looks after'),
  namespace: optional(
    text(
      'POD_NAMESPACE',
      undefined,
      'namespace of the Secret with the roots; unset = that of the service account',
    ),
  ),
  kubeconfig: optional(
    text(
      'KUBECONFIG',
      undefined,
      'file with the way to the API server; unset = the service account of the pod',
    ),
  ),
  qps: integer('NSM_KUBELET_QPS', '20', 'calls to the API server a second, in the long run', [1, 10_000]),
  leaveFile: optional(
    text(
      'NSM_LEAVE_FILE',
      undefined,
      'file that says true when the agent is removed for good: told to stop, it stays until no pod has a CSI volume of it any more, ten minutes at most',
    ),
  ),
  ...identityVariables(),
  ...csiVariables(),
  events: boolean(
    'NSM_EVENTS',
    'true',
    'whether Events on the node’s pods tell what becomes of their connections',
  ),
  podCondition: boolean(
    'NSM_POD_CONDITION',
    'false',
    'whether all pods with a sidecar get the condition networkservicemesh.io/connected; those with it as a readiness gate get it with NSM_EVENTS, too',
  ),
})

function identityVariables(): Variables<IdentityConfig> {
  return {
    identity: choice(
      'NSM_IDENTITY',
      'embedded',
      'who gives the pods of this node their SVIDs: this agent (embedded), or somebody else, such as SPIRE (off)',
      ['embedded', 'off'],
    ),
    trustDomain: trustDomain('NSM_TRUST_DOMAIN', 'k8s.nsm', 'trust domain of the identities that are given'),
    identitySecret: text('NSM_IDENTITY_SECRET', 'nsm-authority', 'Secret that all agents keep the roots in'),
    identitySocket: text(
      'NSM_IDENTITY_SOCKET',
      '/run/spire/sockets/agent.sock',
      'path at which the Workload API is served; its folder is what the CSI driver csi.spiffe.io mounts',
    ),
    svidLifeMs: duration('NSM_SVID_TTL', '1h', 'life of an SVID; it is renewed at half of it'),
    rootLifeMs: duration(
      'NSM_CA_TTL',
      '168h',
      'life of a root; at half of it the next one is published, which signs after another seventh',
    ),
  }
}

function csiVariables(): Variables<CsiConfig> {
  return {
    csi: boolean(
      'NSM_CSI',
      'true',
      'whether pods can mount the sockets as CSI volumes: csi.networkservicemesh.io, and csi.spiffe.io with NSM_IDENTITY=embedded',
    ),
    kubeletFolder: text('NSM_KUBELET_FOLDER', '/var/lib/kubelet', 'folder of the node’s kubelet'),
    managerFolder: text(
      'NSM_MANAGER_FOLDER',
      '/var/lib/networkservicemesh',
      'folder of the manager’s socket, which the CSI driver csi.networkservicemesh.io mounts',
    ),
  }
}

function trustDomain(name: string, fallback: string, meaning: string): Variable<string> {
  const read = (value: string): string => {
    try {
      return parseTrustDomain(value)
    } catch {
      throw new Error('must be a trust domain: lower-case letters, digits, dots, dashes and underscores')
    }
  }
  return custom('trust domain', read, [name, fallback, meaning])
}
