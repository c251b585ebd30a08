import type { Cluster, Item } from '../cluster/cluster.ts'
import type { Installation } from '../cluster/installation.ts'
import { injected, podsIn, type InjectedPod } from '../cluster/pods.ts'

/** What several checks look at; each is asked for once. */
export interface Facts {
  readonly cluster: Cluster
  readonly installation: Installation
  /** Now, in milliseconds since 1970. */
  readonly nowMs: number
  readonly pods: () => Promise<readonly Item[]>
  readonly injectedPods: () => Promise<readonly InjectedPod[]>
  readonly nodes: () => Promise<readonly Item[]>
  readonly namespaces: () => Promise<readonly Item[]>
}

export function factsOf(cluster: Cluster, installation: Installation, nowMs: number): Facts {
  const pods = once(async () => podsIn(cluster, undefined))
  return {
    cluster,
    installation,
    nowMs,
    pods,
    injectedPods: once(async () => (await pods()).flatMap((pod) => injected(pod) ?? [])),
    nodes: once(async () => cluster.list('/api/v1/nodes')),
    namespaces: once(async () => cluster.list('/api/v1/namespaces')),
  }
}

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined
  return async () => (answer ??= ask())
}
