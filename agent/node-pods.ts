import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { informer, type Informer } from '@nsm/kubernetes/informer.js'
import type { Logger } from '@nsm/sdk/log.js'

/** A condition of a pod, as far as it is of use here. */
export interface PodCondition {
  readonly type: string
  readonly status: 'True' | 'False' | 'Unknown'
  readonly reason?: string
  readonly message?: string
  readonly lastTransitionTime?: string
}

/** Condition by which a pod can wait for its connections. */
export const connectedCondition = 'networkservicemesh.io/connected'

/** What stays in memory of a pod of this node. */
export interface NodePod extends KubernetesObject {
  /** For a static pod: the UID that the node knows it by, which is not that of the object. */
  readonly staticUid: string | undefined
  /** Name of the DaemonSet that it is of. */
  readonly daemonSet: string | undefined
  readonly ip: string | undefined
  /** Port of its sidecar's status; undefined = no sidecar. */
  readonly statusPort: number | undefined
  readonly isSidecarRunning: boolean
  readonly hasReadinessGate: boolean
  readonly connected: PodCondition | undefined
}

/** The pods of one node, kept up to date. */
export function nodePods(client: ApiClient, nodeName: string, log: Logger): Informer<NodePod> {
  return informer<NodePod>({
    client,
    path: '/api/v1/pods',
    select: { fieldSelector: `spec.nodeName=${nodeName}` },
    keep: nodePod,
    log,
  })
}

interface Container {
  readonly name: string
  readonly restartPolicy?: string
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
}

interface ContainerStatus {
  readonly name: string
  readonly state?: { readonly running?: object }
}

/** The fields of a Pod that are read here. */
interface Pod extends KubernetesObject {
  readonly spec?: {
    readonly initContainers?: readonly Container[]
    readonly containers?: readonly Container[]
    readonly readinessGates?: readonly { readonly conditionType: string }[]
  }
  readonly status?: Status
}

interface Status {
  readonly podIP?: string
  readonly conditions?: readonly PodCondition[]
  readonly initContainerStatuses?: readonly ContainerStatus[]
  readonly containerStatuses?: readonly ContainerStatus[]
}

/** Takes out of a Pod what is needed here. */
export function nodePod({ metadata, spec = {}, status = {} }: Pod): NodePod {
  const { name = '', namespace = '', uid = '', resourceVersion = '' } = metadata
  const sidecar = sidecarOf(spec)
  const gates = spec.readinessGates ?? []
  return {
    metadata: { name, namespace, uid, resourceVersion },
    staticUid: staticUidOf(metadata),
    daemonSet: daemonSetOf(metadata),
    ip: status.podIP,
    statusPort: sidecar?.port,
    isSidecarRunning: isRunning(status, sidecar?.name),
    hasReadinessGate: gates.some(({ conditionType }) => conditionType === connectedCondition),
    connected: status.conditions?.find(({ type }) => type === connectedCondition),
  }
}

function isRunning(
  { initContainerStatuses = [], containerStatuses = [] }: Status,
  name: string | undefined,
): boolean {
  const found = [...initContainerStatuses, ...containerStatuses].find((one) => one.name === name)
  return found?.state?.running !== undefined
}

/** Kubelet's mirror of a static pod belongs to the Node; the annotation alone could be anybody's. */
function staticUidOf(metadata: Pod['metadata']): string | undefined {
  const [owner] = ownersOf(metadata)
  return owner?.kind === 'Node' ? metadata.annotations?.['kubernetes.io/config.mirror'] : undefined
}

function daemonSetOf(metadata: Pod['metadata']): string | undefined {
  return ownersOf(metadata).find(({ kind, controller }) => kind === 'DaemonSet' && controller === true)?.name
}

interface Owner {
  readonly kind?: string
  readonly name?: string
  readonly controller?: boolean
}

function ownersOf({ ownerReferences }: Pod['metadata']): readonly Owner[] {
  return (ownerReferences as readonly Owner[] | undefined) ?? []
}

/** The container that looks after the pod's connections: it lives as long as the pod, and says where its status is. */
function sidecarOf({
  initContainers = [],
  containers = [],
}: NonNullable<Pod['spec']>): { readonly name: string; readonly port: number } | undefined {
  const lasting = [...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always'), ...containers]
  for (const { name, env = [] } of lasting) {
    const valueOf = (variable: string): string | undefined => env.find((one) => one.name === variable)?.value
    const [, digits] = /:(\d{1,5})$/.exec(valueOf('NSM_OPS_LISTEN_ON') ?? '') ?? []
    const port = Number(digits)
    if (port >= 1 && port <= 65_535 && valueOf('NSM_NETWORK_SERVICES') !== undefined) return { name, port }
  }
  return undefined
}
