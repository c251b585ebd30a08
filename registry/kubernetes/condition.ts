import { isDeepStrictEqual } from 'node:util'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Known } from './named-objects.ts'

/** As Kubernetes writes conditions. */
interface Condition {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly lastTransitionTime?: string
  readonly observedGeneration?: number
}

/** The part of a status that is read here. */
interface Status {
  readonly conditions?: readonly Condition[]
  readonly [field: string]: unknown
}

export interface Told {
  /** What is served under the object's name. */
  readonly winner: Known<unknown> | undefined
  /** Other fields of the status. */
  readonly more: Readonly<Record<string, unknown>>
  readonly nowMs: number
}

/**
 * The status that an object should have: condition `Ready`, and `more`. Undefined = it has it. The generation is told with
 * each change of the condition only: each refresh makes a new one.
 */
export function changedStatus(known: Known<unknown>, { winner, more, nowMs }: Told): Status | undefined {
  const { object, fault } = known
  const before = (object['status'] ?? {}) as Status
  const conditions = before.conditions ?? []
  const last = conditions.find(({ type }) => type === 'Ready')
  const now = ready(object, fault, winner)
  const isSaid = last !== undefined && last.reason === now.reason && last.message === now.message
  if (isSaid && Object.entries(more).every(([field, value]) => isDeepStrictEqual(before[field], value)))
    return undefined
  const since = last?.status === now.status ? last.lastTransitionTime : undefined
  const { generation } = object.metadata
  const condition: Condition = {
    ...now,
    lastTransitionTime: since ?? `${new Date(nowMs).toISOString().slice(0, 19)}Z`,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  }
  return { ...more, conditions: [...conditions.filter(({ type }) => type !== 'Ready'), condition] }
}

function ready(
  { metadata }: KubernetesObject,
  fault: string | undefined,
  winner: Known<unknown> | undefined,
): Condition {
  if (fault !== undefined) return notReady('InvalidSpec', `not served: ${fault}`)
  const other = winner?.object.metadata
  if (other !== undefined && other.uid !== metadata.uid)
    return notReady('NameTaken', `not served: ${other.namespace}/${other.name} has this name`)
  return { type: 'Ready', status: 'True', reason: 'Registered', message: 'served to clients' }
}

function notReady(reason: string, message: string): Condition {
  return { type: 'Ready', status: 'False', reason, message }
}
