import { readFile } from 'node:fs/promises'
import type { Informer } from '@nsm/kubernetes/informer.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Caller } from '@nsm/spiffe/authority/caller.js'
import type { Attest } from '@nsm/spiffe/authority/subscribers.js'
import { SpiffeError } from '@nsm/spiffe/errors.js'
import type { NodePod } from '../node-pods.ts'
import { podUidOf } from './cgroup.ts'

/** What identities are made from, beside the pod. */
export interface Naming {
  readonly trustDomain: string
  /** Namespace of the mesh's own parts. */
  readonly partsNamespace: string
  readonly nodeName: string
}

export interface AttestorOptions {
  readonly pods: Informer<NodePod>
  readonly naming: Naming
  readonly clock: Clock
  readonly log: Logger
  /** Hears how each attestation went. */
  readonly ended?: (result: AttestationResult) => void
}

/** `unknown`: it cannot be said while the API server is away. */
export type AttestationResult = 'identified' | 'refused' | 'unknown'

export interface Attestor {
  readonly attest: Attest
  close(): void
}

/** A pod can be quicker than the news of it. */
const patienceMs = 3_000
/** Refusals that are remembered, so that a caller who asks again and again is one warning. */
const maxTold = 256

/**
 * Knows a caller by its process: process → cgroup → UID of a pod → the pods of this node. Whoever is in no pod, or in one that the API server
 * does not know, gets nothing; the log says why. Rejects with UNAVAILABLE when the API server has not been heard and the pod may be new.
 */
export function podAttestor({ pods, naming, clock, log, ended }: AttestorOptions): Attestor {
  const told = new Set<string>()
  const arrivals = arrivalsOf(pods, clock)

  const refuse = (caller: Caller, why: string): undefined => {
    const line = { pid: caller.pid, uid: caller.uid, why }
    if (told.has(why)) log.debug(line, 'identity refused')
    else log.warn(line, 'identity refused')
    told.add(why)
    const [oldest] = told
    if (told.size > maxTold && oldest !== undefined) told.delete(oldest)
    ended?.('refused')
    return undefined
  }

  return {
    async attest(caller) {
      const found = await podOf(caller)
      if ('why' in found) return refuse(caller, found.why)
      const pod = findPod(pods, found.uid) ?? (await arrivals.wait(found.uid))
      if (pod === undefined && !pods.synced) {
        ended?.('unknown')
        throw new SpiffeError(
          'UNAVAILABLE',
          `whether pod ${found.uid} is of this node is not known: no word from the API server`,
        )
      }
      if (pod === undefined) return refuse(caller, `pod ${found.uid} is none of this node's`)
      ended?.('identified')
      return idOf(naming, pod)
    },
    close: () => arrivals.close(),
  }
}

/**
 * The SPIFFE ID of a pod. The mesh's parts on a node have the node's name in the place of their pod's: the next pod of the DaemonSet is the same
 * part, and may go on with what the one before has registered.
 */
export function idOf(
  { trustDomain, partsNamespace, nodeName }: Naming,
  { metadata: { namespace, name }, daemonSet }: NodePod,
): string {
  const isPart = daemonSet !== undefined && namespace === partsNamespace
  return `spiffe://${trustDomain}/ns/${namespace}/pod/${isPart ? `${daemonSet}-${nodeName}` : name}`
}

async function podOf(caller: Caller): Promise<{ readonly uid: string } | { readonly why: string }> {
  if (caller.pid === 0) return { why: 'its process cannot be seen from here: the agent needs hostPID' }
  const cgroups = await readFile(`/proc/${caller.pid}/cgroup`, 'utf8').catch(() => undefined)
  if (cgroups === undefined) return { why: `process ${caller.pid} is gone` }
  const uid = podUidOf(cgroups)
  if (uid === undefined) return { why: `process ${caller.pid} is in no pod` }
  if (!(await caller.isSame())) return { why: `process ${caller.pid} is not the one that connected` }
  return { uid }
}

function findPod(pods: Informer<NodePod>, uid: string): NodePod | undefined {
  const pod = pods.byUid(uid)
  if (pod !== undefined) return pod
  for (const one of pods.values()) if (one.staticUid === uid) return one
  return undefined
}

interface Arrivals {
  /** The pod as soon as it is known; undefined when it does not come in time. */
  wait(uid: string): Promise<NodePod | undefined>
  close(): void
}

function arrivalsOf(pods: Informer<NodePod>, clock: Clock): Arrivals {
  const waiting = new Map<string, Set<() => void>>()
  const stop = pods.onChange(({ object }) => {
    for (const uid of [object.metadata.uid, object.staticUid])
      if (uid !== undefined) for (const look of waiting.get(uid) ?? []) look()
  })
  return {
    wait: async (uid) =>
      new Promise((resolve) => {
        const looks = waiting.get(uid) ?? new Set()
        waiting.set(uid, looks)
        const end = (): void => {
          disarm()
          looks.delete(end)
          if (looks.size === 0) waiting.delete(uid)
          resolve(findPod(pods, uid))
        }
        const disarm = clock.after(patienceMs, end)
        looks.add(end)
      }),
    close: stop,
  }
}
