import { NsmError } from '@nsm/sdk/errors.js'
import { rightsLine } from '../cluster/access.ts'
import { injected } from '../cluster/pods.ts'
import { annotation, injectKey } from '../cluster/names.ts'
import { selects } from '../cluster/selector.ts'
import type { Cluster, Item } from '../cluster/cluster.ts'
import type { Facts } from './facts.ts'
import { fault, ok, warning, type Finding } from './finding.ts'
import { injectorOf, type Injector } from './injector.ts'

/** Sends a pod that asks for a service through admission, as a dry run: the API server itself says whether injection works. */
export async function trial(facts: Facts): Promise<readonly Finding[]> {
  const { cluster } = facts
  // Who may not see it may try all the same.
  const injector = await injectorOf(cluster).catch(() => undefined)
  const hint = injector?.hint ?? 'helm upgrade brings back what injects'
  const namespace = await namespaceFor(facts, injector)
  if (namespace === undefined)
    return [
      warning(
        'injection can’t be tried: pods of all namespaces are left alone',
        `webhook.excludedNamespaces, or the label ${injectKey}: disabled, says so`,
      ),
    ]
  try {
    const answer = await cluster.dryRun(`/api/v1/namespaces/${namespace}/pods`, examplePod)
    const how = `(dry run in namespace ${namespace})`
    return [
      injected(answer) === undefined
        ? fault(
            `a pod that asks for a service comes back without a sidecar ${how}`,
            `${hint}; look at namespaceSelector and matchConditions`,
          )
        : ok(`a pod that asks for a service comes back with a sidecar ${how}`),
    ]
  } catch (reason) {
    const { code, message } = NsmError.from(reason)
    if (rightsLine(message) !== undefined) throw reason
    if (isOurs(message) || code === 'UNAVAILABLE')
      return [fault(`a pod that asks for a service is refused: ${message}`, hint)]
    return [warning(`injection can't be tried in namespace ${namespace}: ${message}`)]
  }
}

function isOurs(message: string): boolean {
  return /failed calling webhook.*networkservicemesh|networkservicemesh\.io["'].* denied/.test(message)
}

/** One whose pods are injected into: that says so itself, the caller's own, `default`, or any. */
async function namespaceFor(
  { cluster, installation, namespaces }: Facts,
  injector: Injector | undefined,
): Promise<string | undefined> {
  const all = await namespaces().catch(async () => alone([cluster.namespace, 'default'], cluster))
  const open = all.filter(({ metadata: { name = '', labels = {}, deletionTimestamp } }) => {
    const known = { 'kubernetes.io/metadata.name': name, ...labels }
    return (
      deletionTimestamp === undefined &&
      ![installation.namespace, 'kube-system'].includes(name) &&
      labels[injectKey] !== 'disabled' &&
      selects(injector?.namespaceSelector, known)
    )
  })
  const names = open.map(({ metadata: { name = '' } }) => name)
  const willing = open.find(({ metadata }) => metadata.labels?.[injectKey] === 'enabled')
  return (
    willing?.metadata.name ?? [cluster.namespace, 'default'].find((name) => names.includes(name)) ?? names[0]
  )
}

/** What can be known of namespaces by who may not list them. */
async function alone(names: readonly string[], cluster: Cluster): Promise<readonly Item[]> {
  return Promise.all(
    names.map(async (name) =>
      cluster.get(`/api/v1/namespaces/${name}`).catch(() => ({ metadata: { name } })),
    ),
  )
}

/** Fits into a namespace of any Pod Security level. */
const examplePod: Item = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    generateName: 'nsm-check-',
    annotations: { [annotation]: 'kernel://nsm-check/nsm-1' },
  },
  spec: {
    automountServiceAccountToken: false,
    containers: [
      {
        name: 'main',
        image: 'nsm-check',
        resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { cpu: '1m', memory: '1Mi' } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
    securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
  },
}
