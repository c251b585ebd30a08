import { NsUrlError, parseNsUrls } from '@nsm/api/nsurl.js'
import { inject, type InjectionSettings } from './inject.ts'
import { InjectionError } from './injection-error.ts'
import { objectOf, textOf, textsOf, type JsonObject } from './json.ts'
import type { PatchOperation } from './json-patch.ts'
import type { Namespaces } from './namespaces.ts'
import { injectKey, verdictOn, type Asker } from './verdict.ts'

/** What was decided, for the answer and for the metrics. */
export interface Decision {
  /** `unanswered` on purpose, and `error`: what becomes of the pod is up to the failure policy. */
  readonly result: 'injected' | 'skipped' | 'denied' | 'unanswered' | 'error'
  /** A word from a fixed set. */
  readonly reason: string
  /** Why it was denied. */
  readonly message?: string
  readonly patch: readonly PatchOperation[]
  readonly warnings: readonly string[]
}

/** An answer to one `POST /mutate`. */
export interface ReviewAnswer {
  readonly status: number
  readonly body: JsonObject
  readonly decision: Decision
}

const apiVersion = 'admission.k8s.io/v1'
const example = 'kernel://my-service/nsm-1?app=my-app'
/** What the API server shows whole (Kubernetes, "admission webhooks good practices"). */
const maxWarningLength = 120

/** Answers an AdmissionReview: a pure function of the review, the settings and what is known of namespaces. */
export function answerReview(
  review: unknown,
  settings: InjectionSettings,
  namespaces: Namespaces,
): ReviewAnswer {
  const body = objectOf(review)
  const request = objectOf(body?.['request'])
  const uid = textOf(request?.['uid'])
  if (body?.['kind'] !== 'AdmissionReview' || request === undefined || uid === undefined || uid === '') {
    return refusal(400, 'body must be an AdmissionReview with a request that has a uid')
  }
  if (body['apiVersion'] !== apiVersion) {
    return refusal(
      400,
      `apiVersion must be ${apiVersion}, not ${JSON.stringify(body['apiVersion'] ?? null).slice(0, 80)}`,
    )
  }
  if (isUndecided(request, settings, namespaces)) {
    return refusal(503, `namespace ${textOf(request['namespace']) ?? ''} is not known here yet`)
  }
  const decision = decide(request, uid, settings, namespaces)
  return {
    status: 200,
    body: { apiVersion, kind: 'AdmissionReview', response: response(uid, decision) },
    decision,
  }
}

/** The namespace of the pod that a review is about, when it is to be made; undefined = this needs no namespace. */
export function namespaceToKnow(review: unknown): string | undefined {
  const request = objectOf(objectOf(review)?.['request'])
  return request !== undefined && isPodCreation(request) ? textOf(request['namespace']) : undefined
}

/** A pod that asks for nothing itself, in a namespace that may ask: no answer, so that the failure policy for such pods decides. */
function isUndecided(
  request: JsonObject,
  { annotation }: InjectionSettings,
  namespaces: Namespaces,
): boolean {
  if (!isPodCreation(request) || !isUnknown(request, namespaces)) return false
  const metadata = objectOf(objectOf(request['object'])?.['metadata'])
  return !textsOf(metadata?.['annotations']).has(annotation)
}

function isUnknown(request: JsonObject, namespaces: Namespaces): boolean {
  return namespaces.isComplete && namespaces.get(textOf(request['namespace']) ?? '') === undefined
}

function decide(
  request: JsonObject,
  uid: string,
  settings: InjectionSettings,
  namespaces: Namespaces,
): Decision {
  if (!isPodCreation(request)) return skipped('not_a_pod_creation')
  const pod = objectOf(request['object'])
  if (pod === undefined) return denied('malformed_pod', 'the request has no object')
  const namespaceName = textOf(request['namespace']) ?? ''
  const namespace = namespaces.get(namespaceName)
  const verdict = verdictOn(pod, { name: namespaceName, info: namespace }, settings.annotation)
  if (verdict.kind === 'skip') return skipped(verdict.reason, verdict.warning)
  if (verdict.kind === 'deny') return denied(verdict.reason, verdict.message)
  if (isUnknown(request, namespaces)) {
    return denied(
      'unknown_namespace',
      `namespace ${namespaceName} is not known to the webhook yet; try again in a moment`,
    )
  }
  const { networkServices, asker } = verdict
  const podSecurity = namespace?.labels.get('pod-security.kubernetes.io/enforce')
  try {
    const { patch, warnings } = inject(settings, {
      pod,
      networkServices,
      urls: parseNsUrls(networkServices),
      namespace: namespaceName,
      podSecurity,
      uid,
    })
    if (patch.length === 0) return { result: 'skipped', reason: 'already_injected', patch, warnings }
    return { result: 'injected', reason: 'annotation', patch, warnings }
  } catch (err) {
    return denial(err, settings.annotation, { asker, namespaceName })
  }
}

function isPodCreation(request: JsonObject): boolean {
  const kind = objectOf(request['kind'])
  const isPod = kind?.['kind'] === 'Pod' && (kind['group'] ?? '') === ''
  return isPod && !request['subResource'] && request['operation'] === 'CREATE'
}

interface Asking {
  readonly asker: Asker
  readonly namespaceName: string
}

/** @throws whatever is a fault of ours */
function denial(err: unknown, annotation: string, { asker, namespaceName }: Asking): Decision {
  const isInherited = asker === 'namespace'
  // Whoever made the pod may know nothing of the namespace's annotation.
  const wayOut = isInherited
    ? `; namespace ${namespaceName} asks for this: a pod annotated ${injectKey}: disabled starts without any`
    : ''
  if (err instanceof NsUrlError) {
    const whose = isInherited ? ` of namespace ${namespaceName}` : ''
    const fault = `annotation ${annotation}${whose}: ${err.message}; for example ${example}`
    return denied('invalid_annotation', `${fault}${wayOut}`)
  }
  if (err instanceof InjectionError) return denied(err.reason, `${err.message}${wayOut}`)
  throw err
}

function skipped(reason: string, warning?: string): Decision {
  return { result: 'skipped', reason, patch: [], warnings: warning === undefined ? [] : [warning] }
}

function denied(reason: string, message: string): Decision {
  return { result: 'denied', reason, message, patch: [], warnings: [] }
}

function response(uid: string, { result, reason, message, patch, warnings }: Decision): JsonObject {
  return {
    uid,
    allowed: result !== 'denied',
    ...(message === undefined ? {} : { status: { code: 400, reason: 'BadRequest', message } }),
    ...(patch.length === 0
      ? {}
      : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
    ...(warnings.length === 0 ? {} : { warnings: warnings.map(cut) }),
    auditAnnotations: result === 'injected' ? { injected: 'true' } : { 'skipped-reason': reason },
  }
}

function cut(warning: string): string {
  return warning.length > maxWarningLength ? `${warning.slice(0, maxWarningLength - 1)}…` : warning
}

/** 400: nothing that the API server sends by our configuration, without uid or version to answer to. 503: no answer on purpose. */
function refusal(status: 400 | 503, message: string): ReviewAnswer {
  const decision: Decision =
    status === 400
      ? failure('malformed_review', message)
      : { result: 'unanswered', reason: 'unknown_namespace', message, patch: [], warnings: [] }
  return { status, body: { message }, decision }
}

/** Nothing could be decided. */
export function failure(reason: string, message: string): Decision {
  return { result: 'error', reason, message, patch: [], warnings: [] }
}
