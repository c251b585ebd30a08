import { connectionsOf } from '../cluster/connections.ts'
import { eventsIn } from '../cluster/events.ts'
import { annotation, injectKey } from '../cluster/names.ts'
import { asks, injected } from '../cluster/pods.ts'
import { textAt } from '../cluster/fields.ts'
import { connectionsIn } from '../output/connections.ts'
import type { Item } from '../cluster/cluster.ts'
import type { Check } from './check.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, some, warning, type Finding } from './finding.ts'

/** Whether those who asked for connections have them. */
export const podChecks: readonly Check[] = [
  { about: 'the namespaces', run: optedIn },
  { about: 'pods without a sidecar', run: notInjected },
  { about: 'the connections of the pods', run: connections },
]

async function optedIn({ namespaces }: Facts): Promise<readonly Finding[]> {
  const all = await namespaces()
  const labelled = all.filter(({ metadata }) => metadata.labels?.[injectKey] === 'enabled')
  const asking = all.filter(({ metadata }) => metadata.annotations?.[annotation] !== undefined)
  const found = [...new Set([...labelled, ...asking])].map(({ metadata }) => metadata.name ?? '')
  return [
    ok(
      found.length === 0
        ? 'no namespace is labelled for injection'
        : `labelled for injection: ${some(found, 10)}`,
    ),
  ]
}

async function notInjected({ cluster, pods }: Facts): Promise<readonly Finding[]> {
  const without = (await pods()).filter(
    (pod) =>
      asks(pod) &&
      injected(pod) === undefined &&
      !['Succeeded', 'Failed'].includes(textAt(pod, 'status', 'phase')),
  )
  return Promise.all(
    without.slice(0, 10).map(async (pod) => {
      const { namespace = '', name = '' } = pod.metadata
      return fault(
        `${namespace}/${name} asks for ${pod.metadata.annotations?.[annotation]} and has no sidecar${await whyNot(cluster, pod)}`,
        'it was made before the mesh, or while the webhook was away: make it anew',
      )
    }),
  )
}

/** What the webhook said when it left a pod out. */
async function whyNot(cluster: Facts['cluster'], pod: Item): Promise<string> {
  const { namespace, uid = '', ownerReferences } = pod.metadata
  const uids = new Set([
    uid,
    ...(Array.isArray(ownerReferences) ? ownerReferences : []).map((one) => textAt(one, 'uid')),
  ])
  const events = await eventsIn(cluster, namespace).catch(() => [])
  const skipped = events.findLast(({ aboutUid, reason }) => uids.has(aboutUid) && /Inject|Skip/.test(reason))
  return skipped === undefined ? '' : `: ${skipped.message}`
}

async function connections({ cluster, injectedPods }: Facts): Promise<readonly Finding[]> {
  const pods = (await injectedPods()).filter(({ phase }) => phase === 'Running' || phase === 'Pending')
  if (pods.length === 0) return [ok('no pod has a sidecar yet')]
  const { pods: answers, unasked } = await connectionsOf(cluster, pods)
  const notUp = answers.flatMap((answer) => {
    const found = connectionsIn(answer.status)
    const bad = found.find((one) => one['state'] !== 'UP')
    const about = `${answer.namespace}/${answer.pod}`
    if (bad !== undefined)
      return [`${about}: ${textAt(bad, 'networkService')} ${textAt(bad, 'state')}, ${textAt(bad, 'message')}`]
    if (found.length > 0 || answer.wanted?.every(({ state }) => state === 'UP') === true) return []
    return answer.error === '' ? [] : [`${about}: ${answer.error}`]
  })
  const total = answers.reduce((sum, { status }) => sum + connectionsIn(status).length, 0)
  return [
    ...(notUp.length === 0
      ? [ok(`${count(pods.length, 'pod')} with ${count(total, 'connection')}, all up`)]
      : notUp.slice(0, 10).map((line) => fault(line, 'kubectl nsm describe pod NAME has all that is known'))),
    ...unasked.slice(0, 3).map((reason) => warning(`sidecars can't be asked: ${reason}`)),
  ]
}
