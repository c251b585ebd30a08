import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import { connectionsOf, type Answers } from '../cluster/connections.ts'
import { textAt } from '../cluster/fields.ts'
import { inParallel } from '../cluster/in-parallel.ts'
import { whyNotInjected, withSidecar } from '../cluster/injection.ts'
import { installationOf } from '../cluster/installation.ts'
import { annotation, howToInstall } from '../cluster/names.ts'
import { asks, injected, podsIn } from '../cluster/pods.ts'
import type { Cluster, Item } from '../cluster/cluster.ts'
import type { Context } from '../commands/context.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { connectionsTable, pathsText } from '../output/connections.ts'
import { namesText } from '../output/names.ts'
import {
  commonOptions,
  inCluster,
  outputOption,
  printed,
  splitName,
  type CommonOptions,
  type Output,
  type Session,
} from './options.ts'

interface Given extends CommonOptions {
  readonly output: Output
  readonly allNamespaces?: boolean
}

/** `kubectl nsm status`. */
export function statusCommand(program: Command, context: Context): void {
  commonOptions(program.command('status'))
    .description('show the connections of all pods, or of one, hop by hop')
    .argument('[pod]', 'name of a pod')
    .option('-A, --all-namespaces', 'pods of all namespaces')
    .addOption(outputOption('table', 'wide', 'json', 'yaml'))
    .action(async (pod: string | undefined, given: Given) =>
      inCluster(context, given, async (session) =>
        pod === undefined ? statusOfAll(session, given) : statusOfOne(session, pod, given),
      ),
    )
}

async function statusOfAll(session: Session, given: Given): Promise<void> {
  const { cluster, namespace } = session
  const all = given.allNamespaces === true
  const pods = (await podsIn(cluster, all ? undefined : namespace)).filter(lives)
  const found = pods.flatMap((pod) => injected(pod) ?? [])
  const without = await inParallel(
    pods.filter((pod) => asks(pod) && injected(pod) === undefined),
    8,
    async (pod) => notInjected(cluster, pod),
  )
  const answers = await connectionsOf(cluster, found)
  const rows = [...answers.pods, ...without].toSorted(
    (a, b) => a.namespace.localeCompare(b.namespace) || a.pod.localeCompare(b.pod),
  )
  show(session, given, { ...answers, pods: rows })
  if (rows.length > 0 || given.output === 'json' || given.output === 'yaml') return
  const where = all ? 'in the cluster' : `in namespace ${namespace}`
  // Whoever may not see the parts is told what can be seen.
  const isInstalled = await installationOf(cluster).then(
    ({ parts }) => parts.length > 0,
    () => true,
  )
  if (!isInstalled)
    throw new NsmError('NOT_FOUND', `there is no mesh in this cluster; install it with \`${howToInstall}\``)
  session.terminal.out(
    `no pod ${where} has a connection: annotate one with ${annotation}: kernel://SERVICE/nsm-1${all ? '' : ', or look in all namespaces with -A'}\n`,
  )
}

async function statusOfOne(session: Session, word: string, given: Given): Promise<void> {
  const { before: namespace = session.namespace, name } = splitName(word)
  const pod = await session.cluster.get(`/api/v1/namespaces/${namespace}/pods/${name}`)
  const answers = await connectionsOf(session.cluster, [await withSidecar(session.cluster, pod)])
  show(session, { ...given, allNamespaces: false }, answers)
  if (given.output !== 'json' && given.output !== 'yaml')
    session.terminal.out(namesText(answers.pods) + pathsText(answers.pods))
}

/** Pods that have ended have no connections any more. */
function lives(pod: Item): boolean {
  return !['Succeeded', 'Failed'].includes(textAt(pod, 'status', 'phase'))
}

async function notInjected(cluster: Cluster, pod: Item): Promise<PodConnections> {
  const { namespace = '', name = '' } = pod.metadata
  const error = `no sidecar: ${await whyNotInjected(cluster, pod)}`
  return { namespace, pod: name, node: textAt(pod, 'spec', 'nodeName'), status: undefined, error }
}

function show(
  { terminal }: Session,
  { output, allNamespaces = false }: Given,
  { pods, unasked }: Answers,
): void {
  if (output === 'json' || output === 'yaml') {
    terminal.out(printed(pods, output))
    return
  }
  if (pods.length > 0)
    terminal.out(connectionsTable(pods, Date.now(), { namespace: allNamespaces, wide: output === 'wide' }))
  for (const reason of unasked) terminal.note(`told by conditions and events: ${reason}`)
}
