import { setTimeout as pause } from 'node:timers/promises'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Terminal } from '../output/terminal.ts'
import { absent } from '@nsm/kubernetes/absent.js'
import { at, listAt } from './fields.ts'
import { isReady } from './pods.ts'

/** The annotation that parts on nodes see as a file. */
const leaveAnnotation = 'networkservicemesh.io/leave'
const partLabel = 'app.kubernetes.io/component'
/** Agents end by themselves as soon as they may. */
const agentGraceSeconds = 600
const kinds = ['networkserviceendpoints', 'networkservices'] as const

export interface LeaveOptions {
  /** Calls into the cluster; its namespace is the installation's. */
  readonly client: ApiClient
  readonly terminal: Pick<Terminal, 'step' | 'note'>
  readonly signal: AbortSignal
  /** Namespace that a test of the chart may have left. */
  readonly testNamespace?: string | undefined
  /** How long to wait for forwarders and agents, and then for the registry. */
  readonly waitMs: number
  /** Time between two looks; default 1 s. */
  readonly lookMs?: number
  /** How long a pod has to be not ready to count as having answered; default 6 s, more than the time between two probes. */
  readonly settledMs?: number
}

/**
 * What an uninstallation cannot do by deleting objects: takes the interfaces out of pods, and the endpoints out of the registry.
 * What does not work is told, and the rest is done: nothing here is worth keeping an installation for.
 */
export async function leaveCluster(options: LeaveOptions): Promise<void> {
  const { terminal } = options
  const tasks: readonly (readonly [what: string, task: () => Promise<string>])[] = [
    ['interfaces are removed from pods', async () => emptyPods(options)],
    ['agents stay until pods have let go of their volumes', async () => dismissAgents(options)],
    ['the registry ends', async () => endRegistry(options)],
    ['what was registered is deleted', async () => deleteRegistered(options)],
    ...testTask(options),
  ]
  for (const [what, task] of tasks) {
    try {
      const fault = await task()
      if (fault === '') terminal.step(what)
      else terminal.note(`${what}: ${fault}`)
    } catch (err) {
      terminal.note(`${what}: ${NsmError.from(err).message}`)
    }
  }
}

function testTask({
  client,
  testNamespace,
}: LeaveOptions): readonly (readonly [string, () => Promise<string>])[] {
  if (testNamespace === undefined) return []
  const remove = async (): Promise<string> => {
    await removeNamespace(client, testNamespace)
    return ''
  }
  return [[`namespace ${testNamespace} is removed`, remove]]
}

/** With all that is in it; none there is no fault. */
export async function removeNamespace(client: ApiClient, name: string): Promise<void> {
  await client.delete(`/api/v1/namespaces/${name}`).catch(absent)
}

/** Forwarders say by not being ready any more that they have left, agents that they will stay for as long as pods have volumes of theirs. */
async function emptyPods(options: LeaveOptions): Promise<string> {
  const { client } = options
  const patch = { metadata: { annotations: { [leaveAnnotation]: 'true' } } }
  const asked = new Set<string>()
  const hasAnswered = answers(options.settledMs ?? 6_000)
  const left = await untilNone(options, async () => {
    const pods = await podsOf(options, 'forwarder', 'agent')
    for (const { metadata } of pods) {
      const name = metadata.name ?? ''
      if (asked.has(name)) continue
      await client.patch(`/api/v1/namespaces/${client.namespace}/pods/${name}`, patch, 'merge').catch(absent)
      asked.add(name)
    }
    return pods.filter((pod) => !hasAnswered(pod))
  })
  return left.length === 0 ? '' : `these did not answer in time: ${namesOf(left)}`
}

/**
 * Tells, look by look, whether a pod has answered: it was ready and is not any more, for longer than one probe that a busy node has missed.
 * One that was not ready before says nothing yet, and one in which nothing runs never will.
 */
function answers(settledMs: number): (pod: KubernetesObject) => boolean {
  const unreadySince = new Map<string, number>()
  return (pod) => {
    const name = pod.metadata.name ?? ''
    const containers = listAt(pod, 'status', 'containerStatuses')
    if (isReady(pod)) unreadySince.set(name, Infinity)
    else if (!containers.some((one) => at(one, 'state', 'running') !== undefined)) return true
    else if (unreadySince.get(name) === Infinity) unreadySince.set(name, performance.now())
    return performance.now() - (unreadySince.get(name) ?? Infinity) >= settledMs
  }
}

/**
 * Pods whose volumes nobody unmounts can't end, so agents get a long time of grace; it is not in their own spec, where it would hold up
 * the deletion of their namespace. Their DaemonSet goes first, or it would replace them.
 */
async function dismissAgents(options: LeaveOptions): Promise<string> {
  const { client } = options
  const { namespace } = client
  await client
    .delete(`/apis/apps/v1/namespaces/${namespace}/daemonsets/agent?propagationPolicy=Orphan`)
    .catch(absent)
  for (const { metadata } of await podsOf(options, 'agent'))
    await client
      .delete(
        `/api/v1/namespaces/${namespace}/pods/${metadata.name ?? ''}?gracePeriodSeconds=${agentGraceSeconds}`,
      )
      .catch(absent)
  return ''
}

/** It would write again what is deleted next. */
async function endRegistry(options: LeaveOptions): Promise<string> {
  const { client } = options
  await client.delete(`/apis/apps/v1/namespaces/${client.namespace}/deployments/registry`).catch(absent)
  const left = await untilNone(options, async () => podsOf(options, 'registry'))
  return left.length === 0 ? '' : `still there: ${namesOf(left)}`
}

/** Of the installation's namespace: what people made elsewhere is theirs. */
async function deleteRegistered({ client }: LeaveOptions): Promise<string> {
  for (const kind of kinds) {
    const path = `/apis/networkservicemesh.io/v1/namespaces/${client.namespace}/${kind}`
    const found = await client.get(path)
    for (const { metadata } of listAt(found, 'items') as KubernetesObject[])
      await client.delete(`${path}/${metadata.name ?? ''}`).catch(absent)
  }
  return ''
}

async function podsOf(
  { client }: LeaveOptions,
  ...parts: readonly string[]
): Promise<readonly KubernetesObject[]> {
  const query = new URLSearchParams({ labelSelector: 'app.kubernetes.io/name=nsm' }).toString()
  const found = await client.get(`/api/v1/namespaces/${client.namespace}/pods?${query}`)
  const pods = listAt(found, 'items') as KubernetesObject[]
  return pods.filter(({ metadata }) => parts.includes(metadata.labels?.[partLabel] ?? ''))
}

/** Looks until there are none, or the time is over; answers what is left. A look that fails is repeated. @throws what the last one failed with */
async function untilNone(
  { signal, waitMs, lookMs = 1_000 }: LeaveOptions,
  look: () => Promise<readonly KubernetesObject[]>,
): Promise<readonly KubernetesObject[]> {
  const end = performance.now() + waitMs
  for (;;) {
    const isLast = performance.now() >= end
    const left = await look().catch((err: unknown) => {
      if (isLast) throw err
    })
    if (left !== undefined && (left.length === 0 || isLast)) return left
    await pause(lookMs, undefined, { signal })
  }
}

function namesOf(pods: readonly KubernetesObject[]): string {
  return pods.map(({ metadata }) => metadata.name ?? '').join(', ')
}
