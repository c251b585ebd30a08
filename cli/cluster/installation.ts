import type { Cluster, Item } from './cluster.ts'
import { at, listAt, numberAt, textAt } from './fields.ts'
import { isReady, labelsOf } from './pods.ts'

/** Parts of a mesh by their component label, in the order in which people think of them. */
export const partNames = ['webhook', 'registry', 'nsmgr', 'forwarder', 'agent', 'prefixes'] as const

export type PartName = (typeof partNames)[number]

/** A Deployment or DaemonSet of the mesh. */
export interface Part {
  readonly name: PartName
  readonly kind: 'Deployment' | 'DaemonSet'
  readonly namespace: string
  readonly object: Item
  /** How many pods it wants, how many of them are ready, and how many are of its newest form. */
  readonly wanted: number
  readonly ready: number
  readonly updated: number
  /** The image of its first container. */
  readonly image: string
  readonly pods: readonly Item[]
}

/** What of a mesh is in a cluster. */
export interface Installation {
  /** Empty when nothing is. */
  readonly namespace: string
  readonly release: string
  readonly chart: string
  readonly version: string
  readonly parts: readonly Part[]
}

const selector = { labelSelector: 'app.kubernetes.io/name=nsm' }

/** Looks for the parts in all namespaces by their labels. */
export async function installationOf(cluster: Cluster): Promise<Installation> {
  const [deployments, daemonSets, pods] = await Promise.all([
    cluster.list('/apis/apps/v1/deployments', selector),
    cluster.list('/apis/apps/v1/daemonsets', selector),
    cluster.list('/api/v1/pods', selector),
  ])
  const found = [
    ...deployments.flatMap((one) => partOf('Deployment', one, pods)),
    ...daemonSets.flatMap((one) => partOf('DaemonSet', one, pods)),
  ]
  const parts = partNames.flatMap((name) => found.filter((part) => part.name === name))
  const [first] = parts
  const labels = first === undefined ? {} : labelsOf(first.object)
  return {
    namespace: first?.namespace ?? '',
    release: labels['app.kubernetes.io/instance'] ?? '',
    chart: labels['helm.sh/chart'] ?? '',
    version: labels['app.kubernetes.io/version'] ?? '',
    parts,
  }
}

/** A pod's own port for probes and metrics, as its readiness probe has it; 0 when it has none. */
export function opsPortOf(pod: Item): number {
  const [container] = listAt(pod, 'spec', 'containers')
  const port =
    at(container, 'readinessProbe', 'httpGet', 'port') ?? at(container, 'livenessProbe', 'httpGet', 'port')
  if (typeof port === 'number') return port
  return numberAt(
    listAt(container, 'ports').find((one) => textAt(one, 'name') === port),
    'containerPort',
  )
}

/** Metrics of a pod of the mesh, in Prometheus' text format. */
export async function metricsOf(cluster: Cluster, pod: Item): Promise<string> {
  const { namespace = '', name = '' } = pod.metadata
  return cluster.text(`/api/v1/namespaces/${namespace}/pods/${name}:${opsPortOf(pod)}/proxy/metrics`)
}

/** A part's pods that are ready. */
export function readyPods(installation: Installation, ...names: readonly PartName[]): readonly Item[] {
  return installation.parts
    .filter(({ name }) => names.includes(name))
    .flatMap(({ pods }) => pods)
    .filter(isReady)
}

function partOf(kind: Part['kind'], object: Item, pods: readonly Item[]): readonly Part[] {
  const component = labelsOf(object)['app.kubernetes.io/component']
  const name = partNames.find((one) => one === component)
  if (name === undefined) return []
  const { namespace = '' } = object.metadata
  const own = pods.filter(
    (pod) =>
      pod.metadata.namespace === namespace &&
      labelsOf(pod)['app.kubernetes.io/component'] === name &&
      pod.metadata.deletionTimestamp === undefined,
  )
  const counts =
    kind === 'Deployment'
      ? {
          wanted: numberAt(object, 'spec', 'replicas'),
          ready: numberAt(object, 'status', 'readyReplicas'),
          updated: numberAt(object, 'status', 'updatedReplicas'),
        }
      : {
          wanted: numberAt(object, 'status', 'desiredNumberScheduled'),
          ready: numberAt(object, 'status', 'numberReady'),
          updated: numberAt(object, 'status', 'updatedNumberScheduled'),
        }
  const image = textAt(object, 'spec', 'template', 'spec', 'containers', 0, 'image')
  return [{ name, kind, namespace, object, ...counts, image, pods: own }]
}
