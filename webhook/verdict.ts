import { annotationHints } from './annotation-hints.ts'
import { objectOf, objectsOf, textOf, textsOf, type JsonObject } from './json.ts'
import type { NamespaceInfo } from './namespaces.ts'

/** Why a pod is left as it is. */
export type SkipReason =
  'no_annotation' | 'empty_annotation' | 'disabled' | 'mirror_pod' | 'host_network' | 'windows'

/** What becomes of a pod: left alone, refused, or injected with these network service URLs. */
export type Verdict =
  | { readonly kind: 'skip'; readonly reason: SkipReason; readonly warning?: string }
  | { readonly kind: 'deny'; readonly reason: string; readonly message: string }
  | { readonly kind: 'inject'; readonly networkServices: string }

/** Whether to inject, `enabled` or `disabled`: a label of the namespace, or a label or annotation of the pod. */
export const injectKey = 'networkservicemesh.io/inject'

/**
 * Decides about one pod. Its own annotation counts, else its namespace's. `networkservicemesh.io/inject: disabled` on either switches
 * injection off. A pod that asked for it itself and cannot have it is refused; one that only lives in such a namespace is left alone.
 */
export function verdictOn(
  pod: JsonObject,
  namespace: NamespaceInfo | undefined,
  annotation: string,
): Verdict {
  const metadata = objectOf(pod['metadata']) ?? {}
  const annotations = textsOf(metadata['annotations'])
  if (annotations.has('kubernetes.io/config.mirror')) return { kind: 'skip', reason: 'mirror_pod' }
  const own = annotations.get(annotation)
  const asked = own ?? namespace?.annotations.get(annotation)
  if (asked === undefined) {
    const warning = misspelt(annotations, annotation)
    return { kind: 'skip', reason: 'no_annotation', ...(warning === undefined ? {} : { warning }) }
  }
  const networkServices = asked.trim()
  if (networkServices === '') {
    return {
      kind: 'skip',
      reason: 'empty_annotation',
      warning: `nothing injected: annotation ${annotation} is empty`,
    }
  }
  return (
    switchedOff(annotations, textsOf(metadata['labels']), namespace) ??
    obstacle(objectOf(pod['spec']) ?? {}, own !== undefined) ?? { kind: 'inject', networkServices }
  )
}

/** More annotations than people write. */
const maxCompared = 100

/** Nothing else would tell that a pod meant to have connections. */
function misspelt(annotations: ReadonlyMap<string, string>, annotation: string): string | undefined {
  const hints = annotationHints([...annotations.keys()], [annotation], maxCompared)
  const slip = hints.find(({ meant }) => meant !== undefined)
  return slip === undefined ? undefined : `annotation ${slip.key} means nothing; did you mean ${annotation}?`
}

function switchedOff(
  annotations: ReadonlyMap<string, string>,
  labels: ReadonlyMap<string, string>,
  namespace: NamespaceInfo | undefined,
): Verdict | undefined {
  if (annotations.get(injectKey) === 'disabled' || labels.get(injectKey) === 'disabled') {
    return { kind: 'skip', reason: 'disabled' }
  }
  if (namespace?.labels.get(injectKey) !== 'disabled') return undefined
  const warning = `nothing injected: the namespace says ${injectKey}: disabled`
  return { kind: 'skip', reason: 'disabled', warning }
}

const obstacles = {
  host_network: 'a pod with hostNetwork has the node’s interfaces; remove hostNetwork or the annotation',
  windows: 'a Windows pod has no Linux network namespace; remove the annotation',
} as const

function obstacle(spec: JsonObject, askedItself: boolean): Verdict | undefined {
  const reason = obstacleReason(spec)
  if (reason === undefined) return undefined
  const message = `nothing injected: ${obstacles[reason]}`
  return askedItself ? { kind: 'deny', reason, message } : { kind: 'skip', reason, warning: message }
}

function obstacleReason(spec: JsonObject): keyof typeof obstacles | undefined {
  if (spec['hostNetwork'] === true) return 'host_network'
  const isWindows =
    textOf(objectOf(spec['os'])?.['name']) === 'windows' ||
    textsOf(spec['nodeSelector']).get('kubernetes.io/os') === 'windows'
  return isWindows ? 'windows' : undefined
}

/** The containers of a pod of all kinds. */
export function allContainers(spec: JsonObject): readonly JsonObject[] {
  return ['initContainers', 'containers', 'ephemeralContainers'].flatMap((field) => objectsOf(spec[field]))
}
