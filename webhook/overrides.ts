import type { NsUrl } from '@nsm/api/nsurl.js'
import { requiredServicesFault, type RequiredServices } from '@nsm/api/required-services.js'
import { annotationHints } from './annotation-hints.ts'
import { InjectionError } from './injection-error.ts'
import { imageFault, quantityFault, quantityValue } from './kubernetes-values.ts'
import type { Resources } from './sidecar-container.ts'
import { injectKey } from './verdict.ts'

/** What one pod wants otherwise than the operator configured. */
export interface Overrides {
  /** Of the first sidecar. */
  readonly image: string | undefined
  readonly resources: Partial<Resources>
  /** Which connections the pod's containers wait for. */
  readonly required: RequiredServices
}

const requiredKey = 'networkservicemesh.io/required'
const imageKey = 'networkservicemesh.io/sidecar-image'
const resourceKeys: ReadonlyMap<string, keyof Resources> = new Map([
  ['networkservicemesh.io/sidecar-cpu-request', 'requestsCpu'],
  ['networkservicemesh.io/sidecar-cpu-limit', 'limitsCpu'],
  ['networkservicemesh.io/sidecar-memory-request', 'requestsMemory'],
  ['networkservicemesh.io/sidecar-memory-limit', 'limitsMemory'],
])

/** Of annotations one by one. */
const maxWarnings = 5

/** Reads a pod's overrides from its annotations; warns of annotations of ours that mean nothing. @throws InjectionError */
export function overridesOf(
  annotations: ReadonlyMap<string, string>,
  { servicesKey, urls }: { readonly servicesKey: string; readonly urls: readonly NsUrl[] },
): { readonly overrides: Overrides; readonly warnings: readonly string[] } {
  const image = annotations.get(imageKey)
  const imageProblem = image === undefined ? undefined : imageFault(image)
  if (imageProblem !== undefined) {
    throw new InjectionError('invalid_override', `annotation ${imageKey}: ${imageProblem}`)
  }
  const resources = [...resourceKeys].flatMap(([key, field]) => {
    const text = annotations.get(key)
    if (text === undefined) return []
    const fault = quantityFault(text)
    if (fault === undefined) return [[field, text] as const]
    throw new InjectionError(
      'invalid_override',
      `annotation ${key} ${fault}, not ${JSON.stringify(text.slice(0, 80))}`,
    )
  })
  const required = annotations.get(requiredKey) ?? 'true'
  const requiredFault = requiredServicesFault(required, urls)
  if (requiredFault !== undefined) {
    throw new InjectionError('invalid_override', `annotation ${requiredKey} ${requiredFault}`)
  }
  const overrides = { image, resources: Object.fromEntries(resources), required }
  return { overrides, warnings: meaningless([...annotations.keys()], servicesKey) }
}

function meaningless(keys: readonly string[], servicesKey: string): readonly string[] {
  const known = [servicesKey, injectKey, requiredKey, imageKey, ...resourceKeys.keys()]
  const unknown = keys.filter((key) => key.startsWith('networkservicemesh.io/') && !known.includes(key))
  const warnings = annotationHints(unknown, known, maxWarnings).map(({ key, meant }) =>
    meant === undefined ? `annotation ${key} means nothing` : `annotation ${key}: did you mean ${meant}?`,
  )
  const others = unknown.length - warnings.length
  if (others === 0) return warnings
  return [...warnings, `and ${others} more annotations networkservicemesh.io/… mean nothing`]
}

/** The operator's resources with a pod's own; a limit that the pod did not set follows its request. @throws InjectionError */
export function withOverrides(configured: Resources, own: Partial<Resources>): Resources {
  const limits = (['Cpu', 'Memory'] as const).map((what): Partial<Resources> => {
    const request = own[`requests${what}`] ?? configured[`requests${what}`]
    const limit = own[`limits${what}`] ?? configured[`limits${what}`]
    if (quantityValue(request) <= quantityValue(limit)) return {}
    if (own[`limits${what}`] === undefined) return { [`limits${what}`]: request }
    if (own[`requests${what}`] === undefined) return { [`requests${what}`]: limit }
    throw new InjectionError(
      'invalid_override',
      `the sidecar’s request ${request} is above its limit ${limit}`,
    )
  })
  return { ...configured, ...own, ...limits[0], ...limits[1] }
}
