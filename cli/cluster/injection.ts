import { NsmError } from '@nsm/sdk/errors.js'
import type { Cluster, Item } from './cluster.ts'
import { eventsIn } from './events.ts'
import { listAt, textAt } from './fields.ts'
import { annotation, injectKey } from './names.ts'
import { asks, injected, type InjectedPod } from './pods.ts'

/** Why a pod that asks for services has no sidecar, as far as the webhook has told. */
export async function whyNotInjected(cluster: Cluster, pod: Item): Promise<string> {
  const { namespace, name = '' } = pod.metadata
  if (pod.metadata.deletionTimestamp !== undefined) return 'it is being deleted'
  const owners = new Set(listAt(pod, 'metadata', 'ownerReferences').map((one) => textAt(one, 'uid')))
  const events = await eventsIn(cluster, namespace).catch(() => [])
  // The webhook sees a pod before it has a UID.
  const told = events.findLast(
    ({ about, aboutUid, reason }) =>
      reason.startsWith('NetworkServiceInjection') && (about === `Pod/${name}` || owners.has(aboutUid)),
  )
  if (told !== undefined) return told.message
  const home = await cluster.get(`/api/v1/namespaces/${namespace}`).catch(() => undefined)
  return home?.metadata.labels?.[injectKey] === 'disabled'
    ? `its namespace says ${injectKey}: disabled`
    : 'it was made before the mesh, or while the webhook was away: make it anew'
}

/** The pod with its sidecar; rejects with NOT_FOUND that says why it has none. */
export async function withSidecar(cluster: Cluster, pod: Item): Promise<InjectedPod> {
  const found = injected(pod)
  if (found !== undefined) return found
  const { namespace, name, annotations } = pod.metadata
  throw new NsmError(
    'NOT_FOUND',
    asks(pod)
      ? `pod ${namespace}/${name} asks for ${annotations?.[annotation]} and has no sidecar: ${await whyNotInjected(cluster, pod)}`
      : `pod ${namespace}/${name} has no sidecar: it isn't annotated with ${annotation}`,
  )
}
