import { absent } from '@nsm/kubernetes/absent.js'
import { at, listAt, textAt } from '../cluster/fields.ts'
import type { Cluster, Item } from '../cluster/cluster.ts'
import type { Check } from './check.ts'
import { fault, ok, warning, type Finding } from './finding.ts'

const names = ['networkservices', 'networkserviceendpoints'] as const
const howToUpdate = 'helm show crds charts/nsm | kubectl apply --server-side --force-conflicts --filename -'

/** Whether the custom resources are served in the form that this version knows. */
export const resourceChecks: readonly Check[] = names.map((name) => ({
  about: `the custom resource ${name}`,
  run: async ({ cluster }) => [await definition(cluster, name)],
}))

async function definition(cluster: Cluster, name: string): Promise<Finding> {
  const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}.networkservicemesh.io`
  const found = await cluster.get(path).catch(absent)
  if (found === undefined) return fault(`${name} is not defined`, howToUpdate)
  const established = conditionOf(found, 'Established')
  if (textAt(established, 'status') !== 'True')
    return fault(
      `${name} is not served: ${textAt(established, 'message')}`,
      `kubectl describe crd ${name}.networkservicemesh.io`,
    )
  const accepted = conditionOf(found, 'NamesAccepted')
  if (textAt(accepted, 'status') === 'False')
    return warning(`${name} has not all of its names: ${textAt(accepted, 'message')}`)
  const version = listAt(found, 'spec', 'versions').find((one) => textAt(one, 'name') === 'v1')
  if (version === undefined || at(version, 'served') !== true)
    return fault(`${name} is not served in version v1`, howToUpdate)
  const described = at(version, 'schema', 'openAPIV3Schema', 'properties', 'spec', 'properties') !== undefined
  return described
    ? ok(`${name} is served in version v1`)
    : warning(`${name} is of an earlier version, without schema and columns`, howToUpdate)
}

function conditionOf(definitionObject: Item, type: string): unknown {
  return listAt(definitionObject, 'status', 'conditions').find((one) => textAt(one, 'type') === type)
}
