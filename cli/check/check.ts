import { NsmError } from '@nsm/sdk/errors.js'
import { rightsLine } from '../cluster/access.ts'
import type { Cluster, Item } from '../cluster/cluster.ts'
import { textAt } from '../cluster/fields.ts'
import { installationOf } from '../cluster/installation.ts'
import { howToInstall } from '../cluster/names.ts'
import { factsOf, type Facts } from './facts.ts'
import { fault, ok, warning, type Finding } from './finding.ts'
import { identityChecks } from './identity.ts'
import { installationChecks } from './parts.ts'
import { nodeChecks } from './nodes.ts'
import { podChecks } from './pods.ts'
import { registryChecks } from './registry.ts'
import { resourceChecks } from './resources.ts'
import { webhookChecks } from './webhook.ts'

/** One thing that is looked at: what, and what was found. */
export interface Check {
  /** As in "could not look at …". */
  readonly about: string
  readonly run: (facts: Facts) => Promise<readonly Finding[]>
}

/** What was found about one side of the mesh. */
export interface Section {
  readonly title: string
  readonly findings: readonly Finding[]
}

const sections: readonly (readonly [string, readonly Check[]])[] = [
  ['Installation', installationChecks],
  ['Webhook', webhookChecks],
  ['Identity', identityChecks],
  ['Custom resources', resourceChecks],
  ['Registry', registryChecks],
  ['Nodes', nodeChecks],
  ['Pods', podChecks],
]

/** Looks at everything, section by section; what the caller has no right to see is said instead. */
export async function* checkCluster(cluster: Cluster, nowMs: number): AsyncIterable<Section> {
  const reached = await guarded('the cluster', async () => version(cluster))
  yield { title: 'Cluster', findings: reached }
  if (reached.some(({ level }) => level === 'fault')) return
  const installation = await installationOf(cluster).catch((reason: unknown) => NsmError.from(reason))
  if (installation instanceof NsmError) {
    yield {
      title: 'Installation',
      findings: [notSeen("the mesh's Deployments and DaemonSets", installation)],
    }
    return
  }
  if (installation.parts.length === 0) {
    yield { title: 'Installation', findings: [fault('there is no mesh in this cluster', howToInstall)] }
    return
  }
  const facts = factsOf(cluster, installation, nowMs)
  for (const [title, checks] of sections) {
    const found = await Promise.all(
      checks.map(async ({ about, run }) => guarded(about, async () => run(facts))),
    )
    yield { title, findings: found.flat() }
  }
}

async function guarded(about: string, look: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await look()
  } catch (reason) {
    return [notSeen(about, NsmError.from(reason))]
  }
}

/** Missing rights are no fault of the mesh. */
function notSeen(about: string, { message }: NsmError): Finding {
  const line = rightsLine(message)
  if (line === undefined) return fault(`could not look at ${about}: ${message}`)
  return warning(`could not look at ${about}: you may not`, line)
}

async function version(cluster: Cluster): Promise<readonly Finding[]> {
  const found: Item = await cluster.get('/version')
  const name = textAt(found, 'gitVersion')
  const minor = Number.parseInt(textAt(found, 'minor'), 10)
  const old = textAt(found, 'major') === '1' && minor < 29
  return old
    ? [
        warning(
          `Kubernetes ${name} has no native sidecars: pods start before their connections are up`,
          'from 1.29 on they wait',
        ),
      ]
    : [ok(`Kubernetes ${name} answers`)]
}
