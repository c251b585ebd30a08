import { NsmError } from '@nsm/sdk/errors.js'
import type { Container, EnvVar } from './objects.ts'

/** What the downward API tells a pod about itself. */
export interface PodFacts {
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly nodeName: string
  readonly serviceAccountName: string
  readonly podIp: string
  readonly hostIp: string
}

/**
 * A container's variables in their order, as Kubernetes makes them: `$(NAME)` of a variable defined earlier is replaced,
 * `$$` stands for `$`, references to anything else stay as they are.
 */
export function environmentOf(container: Container, facts: PodFacts): Readonly<Record<string, string>> {
  const defined: Record<string, string> = {}
  for (const variable of container.env ?? [])
    defined[variable.name] = valueOf(variable, facts) ?? expand(variable.value ?? '', defined)
  return defined
}

/** Replaces `$(NAME)` by what is in `variables`. */
export function expand(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([^()]+)\)/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$'
    return Object.hasOwn(variables, name) ? (variables[name] ?? whole) : whole
  })
}

function valueOf(variable: EnvVar, facts: PodFacts): string | undefined {
  const path = variable.valueFrom?.fieldRef.fieldPath
  return path === undefined ? undefined : fieldOf(path, facts)
}

function fieldOf(path: string, facts: PodFacts): string {
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path)
  if (keyed !== null) return facts[keyed[1] as 'labels' | 'annotations'][keyed[2] ?? ''] ?? ''
  const value = plainFields(facts)[path]
  if (value === undefined)
    throw new NsmError('INVALID_ARGUMENT', `fieldPath ${path} is not one that the local mesh knows`)
  return value
}

function plainFields(facts: PodFacts): Readonly<Record<string, string>> {
  return {
    'metadata.name': facts.name,
    'metadata.namespace': facts.namespace,
    'metadata.uid': facts.uid,
    'spec.nodeName': facts.nodeName,
    'spec.serviceAccountName': facts.serviceAccountName,
    'status.podIP': facts.podIp,
    'status.podIPs': facts.podIp,
    'status.hostIP': facts.hostIp,
    'status.hostIPs': facts.hostIp,
  }
}
