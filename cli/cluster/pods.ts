import { programOf } from '../manifest/images.ts'
import { listAt, numberAt, textAt, textsAt } from './fields.ts'
import { annotation, injectKey } from './names.ts'
import type { Cluster, Item } from './cluster.ts'

/** A pod that has our sidecar. */
export interface InjectedPod {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly node: string
  readonly phase: string
  /** The sidecar's container. */
  readonly container: string
  readonly image: string
  /** Where the sidecar tells its status; 0 when it doesn't. */
  readonly statusPort: number
  /** The network service URLs that it was given. */
  readonly services: string
  readonly object: Item
}

/** Pods of a namespace, or of all. */
export async function podsIn(cluster: Cluster, namespace: string | undefined): Promise<readonly Item[]> {
  return cluster.list(namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`)
}

/** The pod with its sidecar; undefined when it has none. */
export function injected(pod: Item): InjectedPod | undefined {
  const container = containersOf(pod).find(isSidecar)
  if (container === undefined) return undefined
  const { namespace = '', name = '', uid = '' } = pod.metadata
  return {
    namespace,
    name,
    uid,
    node: textAt(pod, 'spec', 'nodeName'),
    phase: textAt(pod, 'status', 'phase'),
    container: textAt(container, 'name'),
    image: textAt(container, 'image'),
    statusPort: portOf(container),
    services: envOf(container, 'NSM_NETWORK_SERVICES') ?? pod.metadata.annotations?.[annotation] ?? '',
    object: pod,
  }
}

/** Whether the pod asks for services by itself, which it should have a sidecar for then. */
export function asks(pod: Item): boolean {
  const annotations = pod.metadata.annotations ?? {}
  return (annotations[annotation] ?? '').trim() !== '' && !isSwitchedOff(pod)
}

/** Whether the pod says that it wants no sidecar, whoever asks for it. */
export function isSwitchedOff({ metadata: { annotations = {}, labels = {} } }: Item): boolean {
  return annotations[injectKey] === 'disabled' || labels[injectKey] === 'disabled'
}

/** Init containers, which sidecars are among, then the others. */
export function containersOf(pod: Item): readonly unknown[] {
  return [...listAt(pod, 'spec', 'initContainers'), ...listAt(pod, 'spec', 'containers')]
}

/** A container's variable when it is written as plain text. */
export function envOf(container: unknown, name: string): string | undefined {
  const found = listAt(container, 'env').find((entry) => textAt(entry, 'name') === name)
  return found === undefined ? undefined : textAt(found, 'value')
}

/** The first thing that keeps a pod from being ready, in a sentence; empty when it is ready or has ended well. */
export function waitsFor(pod: Item): string {
  const phase = textAt(pod, 'status', 'phase')
  if (phase === 'Succeeded') return ''
  if (phase === 'Failed')
    return textAt(pod, 'status', 'message') || textAt(pod, 'status', 'reason') || 'failed'
  const unscheduled = listAt(pod, 'status', 'conditions').find(
    (one) => textAt(one, 'type') === 'PodScheduled' && textAt(one, 'status') !== 'True',
  )
  if (unscheduled !== undefined) return `not scheduled: ${textAt(unscheduled, 'message')}`
  const late = statusesOf(pod).find((status) => !isDone(status))
  return late === undefined ? '' : containerFault(late)
}

/** How often the pod's containers were started again. */
export function restartsOf(pod: Item): number {
  return statusesOf(pod).reduce<number>((sum, status) => sum + numberAt(status, 'restartCount'), 0)
}

/** Whether the pod's Ready condition holds. */
export function isReady(pod: Item): boolean {
  return listAt(pod, 'status', 'conditions').some(
    (one) => textAt(one, 'type') === 'Ready' && textAt(one, 'status') === 'True',
  )
}

/** Labels of an object. */
export function labelsOf(object: Item): Readonly<Record<string, string>> {
  return textsAt(object, 'metadata', 'labels')
}

function isSidecar(container: unknown): boolean {
  return (
    programOf(textAt(container, 'image')) === 'sidecar' ||
    (envOf(container, 'NSM_NETWORK_SERVICES') !== undefined &&
      envOf(container, 'SPIFFE_ENDPOINT_SOCKET') !== undefined)
  )
}

function portOf(container: unknown): number {
  return Number(/:(\d+)$/.exec(envOf(container, 'NSM_OPS_LISTEN_ON') ?? ':0')?.[1] ?? 0)
}

function statusesOf(pod: Item): readonly unknown[] {
  return [...listAt(pod, 'status', 'initContainerStatuses'), ...listAt(pod, 'status', 'containerStatuses')]
}

function isDone(status: unknown): boolean {
  const exit = textAt(status, 'state', 'terminated', 'reason')
  return exit === 'Completed' || (status as { ready?: unknown }).ready === true
}

function containerFault(status: unknown): string {
  const name = textAt(status, 'name')
  for (const state of ['waiting', 'terminated']) {
    const reason = textAt(status, 'state', state, 'reason')
    const message = textAt(status, 'state', state, 'message')
    if (reason !== '') return `${name}: ${reason}${message === '' ? '' : ` (${message.trim()})`}`
  }
  return `${name}: not ready`
}
