import { NsmError } from '@nsm/sdk/errors.js'
import { rightsLine } from '../cluster/access.ts'
import { injected } from '../cluster/pods.ts'
import { annotation, injectKey } from '../cluster/names.ts'
import type { Item } from '../cluster/cluster.ts'
import type { Facts } from './facts.ts'
import { fault, ok, warning, type Finding } from './finding.ts'

/** Sends a pod that asks for a service through admission, as a dry run: the API server itself says whether injection works. */
export async function trial({ cluster, installation, namespaces }: Facts): Promise<readonly Finding[]> {
  const all = await namespaces().catch((): readonly Item[] => [])
  const willing = all.find(({ metadata }) => metadata.labels?.[injectKey] === 'enabled')
  const usable = [cluster.namespace, 'default'].find(
    (name) => ![installation.namespace, 'kube-system'].includes(name),
  )
  const namespace = willing?.metadata.name ?? usable ?? 'default'
  try {
    const answer = await cluster.dryRun(`/api/v1/namespaces/${namespace}/pods`, examplePod)
    if (injected(answer) !== undefined)
      return [
        ok(`a pod that asks for a service comes back with a sidecar (dry run in namespace ${namespace})`),
      ]
    return [
      fault(
        `a pod that asks for a service comes back without a sidecar (dry run in namespace ${namespace})`,
        'kubectl nsm logs webhook; look at the configuration’s namespaceSelector and matchConditions',
      ),
    ]
  } catch (reason) {
    const { code, message } = NsmError.from(reason)
    if (rightsLine(message) !== undefined) throw reason
    const isOurs = /failed calling webhook.*networkservicemesh|networkservicemesh\.io" denied/.test(message)
    if (isOurs || code === 'UNAVAILABLE')
      return [fault(`a pod that asks for a service is refused: ${message}`, 'kubectl nsm logs webhook')]
    return [warning(`injection can't be tried in namespace ${namespace}: ${message}`)]
  }
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
