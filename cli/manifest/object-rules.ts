import { dnsLabel, dnsName, podSpec, stringMap } from './pod-rules.ts'
import {
  both,
  fault,
  harmless,
  integer,
  isObject,
  listOf,
  object,
  oneOf,
  text,
  truth,
  unsupported,
  type Fault,
  type Fields,
  type Rule,
} from './shape.ts'
import type { Deployment } from './objects.ts'

const metadataFields: Fields = {
  name: dnsName,
  namespace: dnsLabel,
  labels: stringMap,
  annotations: stringMap,
  // Written by API servers: they come with objects that were read from one.
  uid: harmless,
  creationTimestamp: harmless,
  generation: harmless,
  managedFields: harmless,
  ownerReferences: harmless,
  resourceVersion: harmless,
  selfLink: harmless,
  finalizers: unsupported(),
}

const head: Fields = { apiVersion: harmless, kind: harmless, status: harmless }
const named = object(metadataFields, ['name'])
const generateName = text(/^[a-z0-9][-.a-z0-9]{0,240}$/, 'the beginning of a DNS name')

const podMetadata = both(object({ ...metadataFields, generateName }), (value, path) =>
  isObject(value) && (value['name'] ?? value['generateName']) === undefined
    ? fault(`${path}.name`, 'is required')
    : [],
)

const selectorMatches: Rule = (value, path) => {
  const { selector, template } = (value as Deployment).spec
  const labels = template.metadata?.labels ?? {}
  return Object.entries(selector.matchLabels)
    .filter(([name, wanted]) => labels[name] !== wanted)
    .flatMap(([name, wanted]) =>
      fault(
        `${path}spec.template.metadata.labels`,
        `must have ${name}: ${wanted}, as spec.selector.matchLabels says`,
      ),
    )
}

const deployment = both(
  object(
    {
      ...head,
      metadata: named,
      spec: object(
        {
          replicas: integer(0, 100),
          selector: object({ matchLabels: stringMap, matchExpressions: unsupported('use matchLabels') }, [
            'matchLabels',
          ]),
          template: object({ metadata: object(metadataFields), spec: podSpec }, ['spec']),
          strategy: object({ type: oneOf('RollingUpdate', 'Recreate'), rollingUpdate: harmless }),
          revisionHistoryLimit: harmless,
          progressDeadlineSeconds: harmless,
          minReadySeconds: oneOf(0),
          paused: oneOf(false),
        },
        ['selector', 'template'],
      ),
    },
    ['metadata', 'spec'],
  ),
  selectorMatches,
)

const networkService = object(
  {
    ...head,
    metadata: named,
    spec: object({
      name: text(/^[^@\s]{1,253}$/, 'a name without `@` and blanks'),
      payload: oneOf('', 'ETHERNET', 'IP'),
      matches: listOf(
        object({
          source_selector: stringMap,
          routes: listOf(object({ destination_selector: stringMap, weight: integer(0, 2 ** 32 - 1) })),
          fallthrough: truth,
          metadata: object({ labels: stringMap }),
        }),
      ),
    }),
  },
  ['metadata'],
)

const rules: Readonly<Record<string, Rule>> = {
  'v1 Namespace': object(
    { ...head, metadata: object({ ...metadataFields, name: dnsLabel }, ['name']), spec: harmless },
    ['metadata'],
  ),
  'v1 Pod': object({ ...head, metadata: podMetadata, spec: podSpec }, ['metadata', 'spec']),
  'apps/v1 Deployment': deployment,
  'networkservicemesh.io/v1 NetworkService': networkService,
}

/** Everything that is wrong with an object; nothing = it is a `MeshObject`. */
export function checkObject(value: unknown): readonly Fault[] {
  if (!isObject(value)) return fault('', 'is not an object with fields')
  const { apiVersion, kind } = value
  if (typeof kind !== 'string' || kind === '') return fault('kind', 'is required')
  const rule = rules[`${String(apiVersion)} ${kind}`]
  if (rule !== undefined) return rule(value, '')
  const known = Object.keys(rules).find((name) => name.endsWith(` ${kind}`))
  if (known !== undefined)
    return fault('apiVersion', `must be ${known.split(' ')[0]} for a ${kind}, not ${String(apiVersion)}`)
  return fault(
    'kind',
    `${kind} is not supported by the local mesh, which takes Namespace, Pod, Deployment and NetworkService`,
  )
}
