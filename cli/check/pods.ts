import { connectionsOf } from '../cluster/connections.ts'
import { whyNotInjected } from '../cluster/injection.ts'
import { annotation, injectKey } from '../cluster/names.ts'
import { asks, injected, isSwitchedOff } from '../cluster/pods.ts'
import { at, textAt, timeAt } from '../cluster/fields.ts'
import { connectionsIn } from '../output/connections.ts'
import type { Item } from '../cluster/cluster.ts'
import type { Check } from './check.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, some, warning, type Finding } from './finding.ts'

/** How long the first connection of a pod may take before somebody should look. */
const youngMs = 30_000

/** Whether those who asked for connections have them. */
export const podChecks: readonly Check[] = [
  { about: 'the namespaces', run: optedIn },
  { about: 'pods without a sidecar', run: notInjected },
  { about: 'namespaces that ask for their pods', run: notInjectedInNamespaces },
  { about: 'the connections of the pods', run: connections },
]

async function optedIn({ namespaces }: Facts): Promise<readonly Finding[]> {
  const all = await namespaces()
  const names = all.filter(({ metadata }) => metadata.labels?.[injectKey] === 'enabled').map(nameOf)
  const label = `${injectKey}: enabled`
  const asking = all.filter(asksForPods).map(nameOf)
  return [
    ok(
      names.length === 0
        ? `no namespace has the label ${label}`
        : `namespaces with the label ${label}: ${some(names)}`,
    ),
    ...(asking.length === 0 ? [] : [ok(`namespaces that ask for all of their pods: ${some(asking)}`)]),
  ]
}

async function notInjected({ cluster, pods }: Facts): Promise<readonly Finding[]> {
  const without = (await pods()).filter((pod) => asks(pod) && lacksSidecar(pod))
  return Promise.all(
    without.slice(0, 10).map(async (pod) => {
      const { namespace, name, annotations } = pod.metadata
      const why = await whyNotInjected(cluster, pod)
      return fault(`${namespace}/${name} asks for ${annotations?.[annotation]} and has no sidecar: ${why}`)
    }),
  )
}

/** Those whose namespace asks for them; they need not know of it, so it is no fault of theirs. */
async function notInjectedInNamespaces({ namespaces, pods }: Facts): Promise<readonly Finding[]> {
  const asking = (await namespaces()).filter(asksForPods)
  const all = await pods()
  return asking.flatMap((namespace) => {
    const name = nameOf(namespace)
    const without = all.filter(
      (pod) =>
        pod.metadata.namespace === name &&
        !asks(pod) &&
        !isSwitchedOff(pod) &&
        at(pod, 'spec', 'hostNetwork') !== true &&
        lacksSidecar(pod),
    )
    if (without.length === 0) return []
    const text = `namespace ${name} asks for its pods; ${count(without.length, 'pod')} without a sidecar: ${some(without.map(nameOf))}`
    return [
      warning(
        text,
        'those that were made before it asked, or while the webhook was away, get one when they are made anew',
      ),
    ]
  })
}

function asksForPods({ metadata: { annotations = {}, labels = {} } }: Item): boolean {
  return (annotations[annotation] ?? '').trim() !== '' && labels[injectKey] !== 'disabled'
}

function lacksSidecar(pod: Item): boolean {
  return injected(pod) === undefined && !['Succeeded', 'Failed'].includes(textAt(pod, 'status', 'phase'))
}

function nameOf({ metadata: { name = '' } }: Item): string {
  return name
}

async function connections({ cluster, injectedPods, nowMs }: Facts): Promise<readonly Finding[]> {
  const pods = (await injectedPods()).filter(({ phase }) => phase === 'Running' || phase === 'Pending')
  if (pods.length === 0) return [ok('no pod has a sidecar yet')]
  const { pods: answers, unasked } = await connectionsOf(cluster, pods)
  const missing = answers.flatMap((answer) => {
    const found = connectionsIn(answer.status)
    const bad = found.find((one) => one['state'] !== 'UP')
    const about = `${answer.namespace}/${answer.pod}`
    const hint = `kubectl nsm describe pod -n ${answer.namespace} ${answer.pod}`
    if (bad !== undefined) return [notUp(bad, about, { hint, nowMs })]
    if (found.length > 0 || answer.wanted?.every(({ state }) => state === 'UP') === true) return []
    return answer.error === '' ? [] : [fault(`${about}: ${answer.error}`, hint)]
  })
  const total = answers.reduce((sum, { status }) => sum + connectionsIn(status).length, 0)
  return [
    ...(missing.length === 0
      ? [ok(`${count(pods.length, 'pod')} with ${count(total, 'connection')}, all up`)]
      : missing.slice(0, 10)),
    ...unasked
      .slice(0, 3)
      .map((reason) => warning(`connections are known by conditions and events only: ${reason}`)),
  ]
}

/** A pod that has just been made may still be connecting. */
function notUp(
  connection: Readonly<Record<string, unknown>>,
  pod: string,
  { hint, nowMs }: { readonly hint: string; readonly nowMs: number },
): Finding {
  const state = textAt(connection, 'state')
  const text = `${pod}: ${textAt(connection, 'networkService')} ${state}, ${textAt(connection, 'message')}`
  const isYoung = state === 'CONNECTING' && nowMs - (timeAt(connection, 'since') ?? 0) < youngMs
  return isYoung ? warning(text, 'it has just begun') : fault(text, hint)
}
