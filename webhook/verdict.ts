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
  | { readonly kind: 'inject'; readonly networkServices: string; readonly asker: Asker }

/** Whose annotation asks. */
export type Asker = 'pod' | 'namespace'

/** Whether to inject, `enabled` or `disabled`: a label of the namespace, or a label or annotation of the pod. */
export const injectKey = 'networkservicemesh.io/inject'

/** Where a pod is made; `info` undefined = not known. */
export interface Place {
  readonly name: string
  readonly info: NamespaceInfo | undefined
}

/**
 * Decides about one pod. Its own annotation counts, else its namespace's. `networkservicemesh.io/inject: disabled` on either switches
 * injection off. A pod of a kind that never has connections is refused when it asked itself, and left alone when only its namespace did.
 */
export function verdictOn(pod: JsonObject, place: Place, annotation: string): Verdict {
  const metadata = objectOf(pod['metadata']) ?? {}
  const annotations = textsOf(metadata['annotations'])
  if (annotations.has('kubernetes.io/config.mirror')) return { kind: 'skip', reason: 'mirror_pod' }
  const own = annotations.get(annotation)
  const asked = own ?? place.info?.annotations.get(annotation)
  if (asked === undefined) {
    const warning = misspelt(annotations, annotation)
    return { kind: 'skip', reason: 'no_annotation', ...(warning === undefined ? {} : { warning }) }
  }
  const asker = own === undefined ? 'namespace' : 'pod'
  const networkServices = asked.trim()
  if (networkServices === '') return emptyAnnotation(annotation, asker)
  return (
    switchOf(annotations, textsOf(metadata['labels']), place) ??
    obstacle(objectOf(pod['spec']) ?? {}, asker) ?? { kind: 'inject', networkServices, asker }
  )
}

function emptyAnnotation(annotation: string, asker: Asker): Verdict {
  const whose = asker === 'pod' ? '' : ' of the namespace'
  const warning = `nothing injected: annotation ${annotation}${whose} is empty`
  return { kind: 'skip', reason: 'empty_annotation', warning }
}

/** More annotations than people write. */
const maxCompared = 100

/** Nothing else would tell that a pod meant to have connections. */
function misspelt(annotations: ReadonlyMap<string, string>, annotation: string): string | undefined {
  const hints = annotationHints([...annotations.keys()], [annotation], maxCompared)
  const slip = hints.find(({ meant }) => meant !== undefined)
  return slip === undefined ? undefined : `annotation ${slip.key} means nothing; did you mean ${annotation}?`
}

/** What is neither word may have been meant as either: nobody is injected, or runs without, because of a slip. */
function switchOf(
  annotations: ReadonlyMap<string, string>,
  labels: ReadonlyMap<string, string>,
  { name, info }: Place,
): Verdict | undefined {
  const own = [
    { what: `annotation ${injectKey}`, value: annotations.get(injectKey) },
    { what: `label ${injectKey}`, value: labels.get(injectKey) },
  ]
  if (own.some(({ value }) => value === 'disabled')) return { kind: 'skip', reason: 'disabled' }
  const inherited = { what: `label ${injectKey} of namespace ${name}`, value: info?.labels.get(injectKey) }
  if (inherited.value === 'disabled') {
    const warning = `nothing injected: the namespace says ${injectKey}: disabled`
    return { kind: 'skip', reason: 'disabled', warning }
  }
  const odd = [...own, inherited].find(({ value }) => value !== undefined && value !== 'enabled')
  if (odd === undefined) return undefined
  const found = JSON.stringify(odd.value?.slice(0, 80))
  const message = `${odd.what} must be enabled or disabled, not ${found}`
  return { kind: 'deny', reason: 'invalid_inject', message }
}

const obstacles = {
  host_network: {
    refusal: 'a pod with hostNetwork has the node’s interfaces; remove hostNetwork or the annotation',
    fact: 'the pod has hostNetwork',
  },
  windows: {
    refusal: 'a Windows pod has no Linux network namespace; remove the annotation',
    fact: 'it is a Windows pod',
  },
} as const

function obstacle(spec: JsonObject, asker: Asker): Verdict | undefined {
  const reason = obstacleReason(spec)
  if (reason === undefined) return undefined
  const { refusal, fact } = obstacles[reason]
  if (asker === 'pod') return { kind: 'deny', reason, message: `nothing injected: ${refusal}` }
  const warning = `nothing injected: ${fact}; annotate it ${injectKey}: disabled to end this warning`
  return { kind: 'skip', reason, warning }
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
