import { NsmError } from '@nsm/sdk/errors.js'
import { textAt } from '../cluster/fields.ts'
import { opsPortOf, type Installation, type PartName } from '../cluster/installation.ts'
import { isReady, labelsOf, waitsFor } from '../cluster/pods.ts'
import type { Item } from '../cluster/cluster.ts'
import type { Check } from './check.ts'
import { kernelFindings, type Kernel } from './kernels.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, warning, type Finding } from './finding.ts'

/** Whether each node can connect pods. */
export const nodeChecks: readonly Check[] = [
  { about: 'the nodes', run: async ({ nodes, installation }) => parts(linux(await nodes()), installation) },
  { about: 'what late parts say', run: latecomers },
  {
    about: "the nodes' kernels",
    run: async ({ nodes }) => kernelFindings(linux(await nodes()).map(kernelOf)),
  },
]

const daemons: readonly PartName[] = ['nsmgr', 'forwarder', 'agent']

function linux(nodes: readonly Item[]): readonly Item[] {
  return nodes.filter((node) => (labelsOf(node)['kubernetes.io/os'] ?? 'linux') === 'linux')
}

function parts(nodes: readonly Item[], installation: Installation): readonly Finding[] {
  const wanted = daemons.filter((name) => installation.parts.some((part) => part.name === name))
  const findings = nodes.flatMap((node): readonly Finding[] => {
    const name = node.metadata.name ?? ''
    if (!isReady(node)) return [warning(`node ${name} is not ready`, `kubectl describe node ${name}`)]
    const lacking = wanted.filter((part) => !runsOn(installation, part, name))
    if (lacking.length === 0) return []
    return [
      fault(
        `node ${name} has no ready ${lacking.join(', no ready ')}: pods there get no connections`,
        `kubectl nsm logs ${lacking[0]} --node ${name}`,
      ),
    ]
  })
  const fine = nodes.length - findings.length
  const line = ok(`${fine} of ${count(nodes.length, 'node')} have a ready ${wanted.join(', ')}`)
  return fine === 0 ? findings : [line, ...findings]
}

function runsOn({ parts: all }: Installation, part: PartName, node: string): boolean {
  return all.some(
    ({ name, pods }) =>
      name === part && pods.some((pod) => isReady(pod) && textAt(pod, 'spec', 'nodeName') === node),
  )
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
