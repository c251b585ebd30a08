import { NsmError } from '@nsm/sdk/errors.js'
import { at, listAt, textAt } from '../cluster/fields.ts'
import { opsPortOf, readyPods, type Installation, type Part, type PartName } from '../cluster/installation.ts'
import { isReady, labelsOf, waitsFor } from '../cluster/pods.ts'
import type { Item } from '../cluster/cluster.ts'
import type { Check } from './check.ts'
import { kernelFindings, type Kernel, type ManagerRights } from './kernels.ts'
import { partMetrics } from './part-metrics.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, some, warning, type Finding } from './finding.ts'

/** Whether each node can connect pods. */
export const nodeChecks: readonly Check[] = [
  { about: 'the nodes', run: async ({ nodes, installation }) => parts(linux(await nodes()), installation) },
  { about: 'what late parts say', run: latecomers },
  { about: "the nodes' kernels", run: kernels },
  { about: "nsmgr's knowledge of its callers", run: namespaces },
]

const daemons: readonly PartName[] = ['nsmgr', 'forwarder', 'agent']

function linux(nodes: readonly Item[]): readonly Item[] {
  return nodes.filter((node) => (labelsOf(node)['kubernetes.io/os'] ?? 'linux') === 'linux')
}

function parts(nodes: readonly Item[], installation: Installation): readonly Finding[] {
  const all = daemons.flatMap((name) => installation.parts.find((part) => part.name === name) ?? [])
  const findings = nodes.flatMap((node): readonly Finding[] => {
    const name = node.metadata.name ?? ''
    if (!isReady(node)) return [warning(`node ${name} is not ready`, `kubectl describe node ${name}`)]
    const lacking = all
      .filter((part) => isMeantFor(part, name) && !runsOn(part, name))
      .map((part) => part.name)
    if (lacking.length === 0) return []
    return [
      fault(
        `node ${name} has no ready ${lacking.join(', no ready ')}: pods there get no connections`,
        `kubectl nsm logs ${lacking[0]} --node ${name}`,
      ),
    ]
  })
  const left = all.flatMap((part) => leftOut(part, nodes))
  const fine = nodes.filter(({ metadata: { name = '' } }) => all.every((part) => runsOn(part, name))).length
  const line = ok(
    `${fine} of ${count(nodes.length, 'node')} have a ready ${all.map(({ name }) => name).join(', ')}`,
  )
  return [...(fine === 0 ? [] : [line]), ...left, ...findings]
}

/** Node selectors, affinities and taints are the controller's to understand: it says how many nodes it wants, and has made a pod for each. */
function isMeantFor({ wanted, pods }: Part, node: string): boolean {
  const placed = new Set(pods.map(nodeOf))
  return placed.has(node) || placed.size < wanted
}

function leftOut(part: Part, nodes: readonly Item[]): readonly Finding[] {
  const names = nodes.map(({ metadata: { name = '' } }) => name).filter((name) => !isMeantFor(part, name))
  if (names.length === 0) return []
  return [
    ok(`no ${part.name} is meant to run on ${some(names)}: pods that ask for services belong elsewhere`),
  ]
}

/** Before it is scheduled, the pod of a DaemonSet names its node in its affinity. */
function nodeOf(pod: Item): string {
  const terms = [
    'affinity',
    'nodeAffinity',
    'requiredDuringSchedulingIgnoredDuringExecution',
    'nodeSelectorTerms',
  ]
  return textAt(pod, 'spec', 'nodeName') || textAt(pod, 'spec', ...terms, 0, 'matchFields', 0, 'values', 0)
}

function runsOn({ pods }: Part, node: string): boolean {
  return pods.some((pod) => isReady(pod) && nodeOf(pod) === node)
}

async function kernels({ nodes, installation }: Facts): Promise<readonly Finding[]> {
  const manager = installation.parts.find(({ name }) => name === 'nsmgr')
  if (manager === undefined) return []
  const found = linux(await nodes()).map(kernelOf)
  return kernelFindings(
    found.filter(({ name }) => isMeantFor(manager, name)),
    rightsOf(manager),
  )
}

function rightsOf({ object }: Part): ManagerRights {
  const spec = ['spec', 'template', 'spec']
  const security = at(object, ...spec, 'containers', 0, 'securityContext')
  return {
    seesProcesses: at(object, ...spec, 'hostPID') === true,
    entersNamespaces:
      at(security, 'privileged') === true || listAt(security, 'capabilities', 'add').includes('SYS_ADMIN'),
  }
}

/** Whether network namespaces of pods could be compared with what the kernel says, whatever the reason. */
async function namespaces({ cluster, installation }: Facts): Promise<readonly Finding[]> {
  const pods = readyPods(installation, 'nsmgr')
  // Who can't be asked is told of with the identities.
  const { found } = await partMetrics(cluster, pods, 'nsm_nsmgr_unverified_netns_total')
  const unsure = found.filter(({ values }) => values.some((value) => value > 0)).map(({ pod }) => pod)
  if (unsure.length === 0) return []
  const text = `${some(unsure)} took network namespaces that pods passed without knowing that they are their own`
  return [
    fault(
      text,
      'kubectl nsm logs nsmgr says why; look at nsmgr.hostPID, nsmgr.capabilities and nsmgr.appArmorProfile',
    ),
  ]
}

function kernelOf(node: Item): Kernel {
  return { name: node.metadata.name ?? '', version: textAt(node, 'status', 'nodeInfo', 'kernelVersion') }
}

/** Asks those that run but aren't ready for their own reasons, which the kubelet does not pass on. */
async function latecomers({ cluster, installation }: Facts): Promise<readonly Finding[]> {
  const late = installation.parts
    .flatMap(({ pods }) => pods)
    .filter((pod) => !isReady(pod) && waitsFor(pod).endsWith('not ready') && opsPortOf(pod) > 0)
  return Promise.all(
    late.slice(0, 10).map(async (pod): Promise<Finding> => {
      const { name = '', namespace = '' } = pod.metadata
      const told = await cluster
        .text(`/api/v1/namespaces/${namespace}/pods/${name}:${opsPortOf(pod)}/proxy/readyz`)
        .catch((reason: unknown) => NsmError.from(reason).message)
      const reasons = [...told.matchAll(/\[-\]([^\n]+)/g)].map(([, line = '']) => line)
      return fault(
        `${name} says: ${reasons.length > 0 ? reasons.join('; ') : told.trim()}`,
        `kubectl logs -n ${namespace} ${name}`,
      )
    }),
  )
}
