import type { Cluster, Item } from '../cluster/cluster.ts'
import { absent } from '@nsm/kubernetes/absent.js'
import { at } from '../cluster/fields.ts'
import { webhookName } from '../cluster/names.ts'

/** What puts sidecars into pods. */
export interface Injector {
  readonly by: 'webhook' | 'policy'
  readonly object: Item
  /** Of the namespaces whose pods it looks at. */
  readonly namespaceSelector: unknown
  /** Where to look when it does not do so. */
  readonly hint: string
}

const registration = '/apis/admissionregistration.k8s.io/v1'
const policyName = 'nsm-inject.networkservicemesh.io'

/** The webhook's configuration, or the policy by which API servers inject without one; undefined = neither is there. */
export async function injectorOf(cluster: Cluster): Promise<Injector | undefined> {
  const webhook = await cluster
    .get(`${registration}/mutatingwebhookconfigurations/${webhookName}`)
    .catch(absent)
  if (webhook !== undefined)
    return {
      by: 'webhook',
      object: webhook,
      namespaceSelector: at(webhook, 'webhooks', 0, 'namespaceSelector'),
      hint: 'kubectl nsm logs webhook',
    }
  // Clusters that don't know policies say so in the same way.
  const policy = await cluster.get(`${registration}/mutatingadmissionpolicies/${policyName}`).catch(absent)
  if (policy === undefined) return undefined
  return {
    by: 'policy',
    object: policy,
    namespaceSelector: at(policy, 'spec', 'matchConstraints', 'namespaceSelector'),
    hint: `kubectl describe mutatingadmissionpolicy ${policyName}`,
  }
}
