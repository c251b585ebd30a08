import type { Pod } from '../manifest/objects.ts'
import type { ContainerStatus } from './container.ts'

export interface PodStatus {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly node: string
  readonly ip: string
  readonly phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Terminating'
  /** Why it isn't ready, for people; empty when it is. */
  readonly message: string
  readonly ready: boolean
  readonly containers: readonly ContainerStatus[]
  readonly startedAtMs: number
}

/** What follows from the states of a pod's containers; `failure`: why it could not be started at all. */
export function summary(
  spec: Pod['spec'],
  list: readonly ContainerStatus[],
  failure: string,
): Pick<PodStatus, 'phase' | 'ready' | 'message'> {
  const phase = phaseOf(spec, list, failure)
  const ready = phase === 'Running' && isReady(spec, list)
  const done = ready || phase === 'Succeeded'
  return { phase, ready, message: failure || (done ? '' : waitingFor(spec, list)) }
}

function phaseOf(spec: Pod['spec'], list: readonly ContainerStatus[], failure: string): PodStatus['phase'] {
  if (failure !== '') return 'Failed'
  const main = list.filter(({ kind }) => kind === 'main')
  if (main.length < spec.containers.length) return 'Pending'
  if (main.some(({ state }) => state !== 'terminated')) return 'Running'
  return main.every(({ exitCode }) => exitCode === 0) ? 'Succeeded' : 'Failed'
}

function isReady(spec: Pod['spec'], list: readonly ContainerStatus[]): boolean {
  const lasting = list.filter(({ kind }) => kind !== 'init')
  return lasting.length >= spec.containers.length && lasting.every(({ ready }) => ready)
}

/** The first container that isn't as it should be, and what is known about it. */
function waitingFor(spec: Pod['spec'], list: readonly ContainerStatus[]): string {
  const late = list.find(({ kind, ready, state }) => (kind === 'init' ? state !== 'terminated' : !ready))
  if (late === undefined)
    return list.length === 0 ? 'being created' : `waiting for ${spec.containers[0]?.name}`
  const what = late.reason || (late.started ? 'not ready' : 'starting')
  return `${late.name}: ${what}${late.message === '' ? '' : ` (${late.message})`}`
}
