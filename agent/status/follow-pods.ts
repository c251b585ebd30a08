import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import type { EventRecorder } from '@nsm/kubernetes/events.js'
import type { Informer } from '@nsm/kubernetes/informer.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { NodePod } from '../node-pods.ts'
import { connectionEvents } from './connection-events.ts'
import { followStatus } from './follow-status.ts'
import { conditionWriter, connectedOf } from './pod-condition.ts'
import { maxConnections, type SidecarConnection, type StatusNews } from './sidecar-status.ts'

export interface FollowPodsOptions {
  readonly pods: Informer<NodePod>
  readonly client: ApiClient
  /** Absent = nothing is told but conditions. */
  readonly events: EventRecorder | undefined
  /** Condition for every pod with a sidecar. */
  readonly podCondition: boolean
  readonly clock: Clock
  readonly log: Logger
}

/** The sidecars of the node's pods. */
export interface FollowedPods {
  /** How many are followed, and how many of them could not be reached for a minute. */
  readonly counts: { readonly followed: number; readonly unreachable: number }
  close(): void
}

interface Followed {
  /** What a stream is bound to: another sidecar is followed anew. */
  readonly address: string
  isReached: boolean
  close(): void
}

/** Follows the sidecar of each pod as long as it runs, and tells Kubernetes what it says: Events on the pod, and its condition. */
export function followPods(options: FollowPodsOptions): FollowedPods {
  const { pods, clock } = options
  const startedAtMs = clock.now()
  const followed = new Map<string, Followed>()

  const look = (pod: NodePod): void => {
    const { uid = '' } = pod.metadata
    const address =
      pod.isSidecarRunning && pod.ip !== undefined && pod.statusPort !== undefined
        ? `${pod.ip} ${pod.statusPort}`
        : undefined
    const before = followed.get(uid)
    if (before?.address === address) return
    before?.close()
    followed.delete(uid)
    if (address !== undefined) followed.set(uid, follow(options, pod, { address, startedAtMs }))
  }
  const forget = ({ metadata: { uid = '' } }: NodePod): void => {
    followed.get(uid)?.close()
    followed.delete(uid)
  }
  const stop = pods.onChange(({ type, object }) => (type === 'deleted' ? forget(object) : look(object)))
  for (const pod of pods.values()) look(pod)

  return {
    get counts() {
      const unreachable = [...followed.values()].filter(({ isReached }) => !isReached).length
      return { followed: followed.size, unreachable }
    },
    close() {
      stop()
      for (const one of followed.values()) one.close()
    },
  }
}

function follow(
  { pods, client, events, podCondition, clock, log }: FollowPodsOptions,
  pod: NodePod,
  { address, startedAtMs }: { readonly address: string; readonly startedAtMs: number },
): Followed {
  const { name = '', namespace = '', uid = '' } = pod.metadata
  const regarding = { apiVersion: 'v1', kind: 'Pod', namespace, name, uid }
  const told = connectionEvents({
    clock,
    startedAtMs,
    tell: (event) => events?.record({ regarding, ...event }),
  })
  const condition =
    podCondition || pod.hasReadinessGate
      ? conditionWriter({ client, pod: () => pods.byUid(uid), clock, log })
      : undefined
  const latest = new Map<string, SidecarConnection>()

  const news = ({ connections, isWhole }: StatusNews): void => {
    if (isWhole) {
      latest.clear()
      told.only(new Set(connections.map(({ id }) => id)))
    }
    for (const connection of connections) {
      if (!latest.has(connection.id) && latest.size >= maxConnections) continue
      latest.set(connection.id, connection)
      told.see(connection)
    }
    if (latest.size > 0) condition?.set(connectedOf(latest.values()))
  }
  const reach = (problem: string | undefined): void => {
    one.isReached = problem === undefined
    if (problem === undefined) return
    const message = `the sidecar’s status at ${pod.ip}:${pod.statusPort} cannot be read from its node: ${problem}; does a NetworkPolicy keep the node out?`
    log.warn({ pod: name, namespace, err: problem }, 'a sidecar cannot be reached')
    events?.record({ regarding, type: 'Warning', reason: 'NetworkServiceStatusUnknown', message })
    condition?.set({ status: 'Unknown', reason: 'StatusUnknown', message })
  }
  const stop = followStatus({ ip: pod.ip ?? '', port: pod.statusPort ?? 0 }, { news, reach }, clock)
  const one: Followed = {
    address,
    isReached: true,
    close() {
      stop()
      told.close()
      condition?.close()
    },
  }
  return one
}
