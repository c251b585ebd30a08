import type { EventRecorder, Regarding } from '@nsm/kubernetes/events.js'
import { objectOf, objectsOf, textOf, type JsonObject } from './json.ts'
import type { Decision } from './review.ts'

/** Told of each decision with the review that it answers. */
export type DecisionListener = (decision: Decision, review: unknown) => void

/** What nobody asked about, or what the answer itself tells well enough. */
const silentReasons = new Set(['no_annotation', 'not_a_pod_creation', 'already_injected', 'mirror_pod'])

/**
 * Tells of pods that were left alone, or got less than they asked for, on their owner: the warnings in the answer reach only
 * the controller that made them. Denials are told by that controller itself. A dry run tells nothing.
 */
export function decisionEvents(recorder: EventRecorder): DecisionListener {
  return ({ result, reason, warnings }, review) => {
    const request = objectOf(objectOf(review)?.['request'])
    if (request === undefined || request['dryRun'] === true) return
    const isSkipped = result === 'skipped' && !silentReasons.has(reason)
    if (!isSkipped && warnings.length === 0) return
    const regarding = whomToTell(request)
    if (regarding === undefined) return
    recorder.record({
      regarding,
      type: warnings.length === 0 ? 'Normal' : 'Warning',
      reason: isSkipped ? 'NetworkServiceInjectionSkipped' : 'NetworkServiceInjectionWarning',
      message: warnings.length === 0 ? `nothing injected: ${reason}` : warnings.join('; '),
    })
  }
}

/** The pod's controller; the pod, which has no UID yet, when nothing else made it. */
function whomToTell(request: JsonObject): Regarding | undefined {
  const metadata = objectOf(objectOf(request['object'])?.['metadata'])
  const namespace = textOf(request['namespace'])
  const owner = objectsOf(metadata?.['ownerReferences']).find(({ controller }) => controller === true)
  const name = textOf((owner ?? metadata)?.['name'])
  if (name === undefined || name === '') return undefined
  if (owner === undefined) return { apiVersion: 'v1', kind: 'Pod', namespace, name }
  const apiVersion = textOf(owner['apiVersion']) ?? ''
  return { apiVersion, kind: textOf(owner['kind']) ?? '', namespace, name, uid: textOf(owner['uid']) }
}
