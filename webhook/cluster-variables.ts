import type { Variables } from '@nsm/sdk/process/config.js'
import { boolean, choice, duration, integer, optional, text } from '@nsm/sdk/process/variables.js'

/** What the webhook has to do with the cluster around it. */
export interface ClusterConfig {
  readonly namespacesFrom: 'api' | 'file' | 'none' | undefined
  readonly namespacesFile: string | undefined
  /** Secret in `namespace`; undefined = each replica has an authority of its own. */
  readonly caSecret: string | undefined
  /** MutatingWebhookConfiguration that gets the CA bundle. */
  readonly webhookConfiguration: string | undefined
  /** File; undefined = that of the pod's service account. */
  readonly kubeconfig: string | undefined
  readonly kubeletQps: number
  readonly events: boolean
  /** How long it answers after it was told to stop, ms. */
  readonly drainMs: number
}

/** How pods are injected in this cluster. */
export interface PodConfig {
  readonly nativeSidecars: 'auto' | 'true' | 'false'
  readonly sockets: 'auto' | 'csi' | 'hostpath'
  readonly readinessGate: boolean
  readonly readinessProbe: boolean
}

/** Variables about the cluster. */
export function clusterVariables(): Variables<ClusterConfig> {
  return {
    namespacesFrom: optional(
      choice(
        'NSM_NAMESPACES_FROM',
        undefined,
        'where annotations and labels of namespaces come from: the API server (api), NSM_NAMESPACES_FILE (file), or nowhere (none); unset = file when that is set, else none',
        ['api', 'file', 'none'],
      ),
    ),
    namespacesFile: optional(
      text('NSM_NAMESPACES_FILE', undefined, 'JSON list of Namespace objects, read again when it changes'),
    ),
    caSecret: optional(
      text(
        'NSM_CA_SECRET',
        undefined,
        'Secret in NSM_NAMESPACE where replicas share the authority of a certificate made in process; it must exist, empty at first; unset = each has its own',
      ),
    ),
    webhookConfiguration: optional(
      text(
        'NSM_WEBHOOK_CONFIGURATION',
        undefined,
        'MutatingWebhookConfiguration whose caBundle is kept, for the webhooks that call NSM_SERVICE_NAME; unset = somebody else does that',
      ),
    ),
    kubeconfig: optional(
      text(
        'KUBECONFIG',
        undefined,
        'file with the way to the API server; unset = the service account of the pod',
      ),
    ),
    kubeletQps: integer('NSM_KUBELET_QPS', '50', 'calls to the API server in a second, at most', [1, 10_000]),
    events: boolean(
      'NSM_EVENTS',
      'true',
      'why pods are left alone is told by Events on their owner, with NSM_NAMESPACES_FROM=api',
    ),
    drainMs: duration(
      'NSM_DRAIN',
      '0s',
      'how long requests are answered, while not ready, after the process was told to stop; at most 20s',
    ),
  }
}

/** Variables about pods. */
export function podVariables(): Variables<PodConfig> {
  return {
    nativeSidecars: choice(
      'NSM_NATIVE_SIDECARS',
      'auto',
      'whether the cluster has native sidecars (Kubernetes 1.29); without them ordinary containers are injected; auto = by the version of the API server, true where none is asked',
      ['auto', 'true', 'false'],
    ),
    sockets: choice(
      'NSM_SOCKETS',
      'auto',
      'how the node’s sockets come into pods; auto = hostpath where no Pod Security level but privileged is enforced, else csi',
      ['auto', 'csi', 'hostpath'],
    ),
    readinessGate: boolean(
      'NSM_READINESS_GATE',
      'false',
      'pods are ready only with condition networkservicemesh.io/connected, which the node agent sets',
    ),
    readinessProbe: boolean(
      'NSM_READINESS_PROBE',
      'false',
      'pods are ready only while the sidecar says that all their connections are up',
    ),
  }
}
