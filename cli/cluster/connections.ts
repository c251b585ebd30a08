import { parseNsUrls } from '@nsm/api/nsurl.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { rightsLine } from './access.ts'
import type { PodConnections, WantedConnection } from '../mesh/connections.ts'
import type { Cluster, Item } from './cluster.ts'
import { eventsIn } from './events.ts'
import { listAt, textAt } from './fields.ts'
import { inParallel } from './in-parallel.ts'
import { conditionType } from './names.ts'
import { waitsFor, type InjectedPod } from './pods.ts'

/** What became of asking the sidecars of several pods. */
export interface Answers {
  readonly pods: readonly PodConnections[]
  /** Which rights to ask sidecars are missing. */
  readonly unasked: readonly string[]
}

const atOnce = 16

/** Asks the pods' sidecars through the API server; where that can't be done, what the pod's condition and events tell. */
export async function connectionsOf(cluster: Cluster, pods: readonly InjectedPod[]): Promise<Answers> {
  const unasked = new Set<string>()
  const answers = await inParallel(pods, atOnce, async (pod) => {
    const about = { namespace: pod.namespace, pod: pod.name, node: pod.node }
    if (textAt(pod.object, 'status', 'podIP') === '')
      return { ...about, ...(await withoutSidecar(cluster, pod, waitsFor(pod.object))) }
    if (pod.statusPort === 0)
      return {
        ...about,
        ...(await withoutSidecar(
          cluster,
          pod,
          waitsFor(pod.object) || 'its sidecar does not tell its status',
        )),
      }
    try {
      return { ...about, status: await cluster.get(statusPath(pod)), error: '' }
    } catch (err) {
      const { message } = NsmError.from(err)
      const line = rightsLine(message)
      if (line !== undefined) unasked.add(`you may not ask sidecars; see \`${line}\``)
      const why = line === undefined ? `its sidecar can't be asked: ${message}` : ''
      return { ...about, ...(await withoutSidecar(cluster, pod, waitsFor(pod.object) || why)) }
    }
  })
  return { pods: answers, unasked: [...unasked] }
}

/** Where the API server passes questions on to a pod's sidecar. */
export function statusPath({ namespace, name, statusPort }: InjectedPod): string {
  return `/api/v1/namespaces/${namespace}/pods/${name}:${statusPort}/proxy/status`
}

/** What else tells of a pod's connections: its condition, and the last event about them. */
async function withoutSidecar(
  cluster: Cluster,
  pod: InjectedPod,
  why: string,
): Promise<Pick<PodConnections, 'status' | 'error' | 'wanted'>> {
  const events = await eventsIn(cluster, pod.namespace, { uid: pod.uid }).catch(() => [])
  const last = events.findLast(({ reason }) => reason.startsWith('NetworkService'))
  const told = last === undefined || last.type === 'Normal' ? '' : last.message
  const state = stateOf(pod.object)
  const error = [state.message, told, why].find((text) => text !== '') ?? ''
  return { status: undefined, error, wanted: wantedBy(pod.services, state.state) }
}

function stateOf(pod: Item): { readonly state: string; readonly message: string } {
  const condition = listAt(pod, 'status', 'conditions').find((one) => textAt(one, 'type') === conditionType)
  const status = textAt(condition, 'status')
  if (status === 'True') return { state: 'UP', message: '' }
  return { state: status === 'False' ? 'DOWN' : 'UNKNOWN', message: textAt(condition, 'message') }
}

function wantedBy(services: string, state: string): readonly WantedConnection[] {
  try {
    return parseNsUrls(services).map(({ networkService, interfaceName = '' }) => ({
      networkService,
      interface: interfaceName,
      state,
    }))
  } catch {
    return [{ networkService: services || '-', interface: '', state }]
  }
}
