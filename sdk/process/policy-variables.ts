import { clientPolicyMasks, registryPolicies, serverPolicyMasks } from '../registry/policies.ts'
import { custom, type Variable } from './variables.ts'

const meaning =
  'which of the built-in registry policies hold: regular expressions over whole names of their files, such as etc/nsm/opa/common/tokens_valid.rego'

/** Policies that a registry server checks its callers by (wire contract §7.1). */
export function serverPolicies(): Variable<readonly string[]> {
  return masks('NSM_REGISTRY_SERVER_POLICIES', serverPolicyMasks)
}

/** Policies that a registry client checks answers by (wire contract §7.1). */
export function clientPolicies(): Variable<readonly string[]> {
  return masks('NSM_REGISTRY_CLIENT_POLICIES', clientPolicyMasks)
}

function masks(name: string, fallback: readonly string[]): Variable<readonly string[]> {
  return {
    ...custom('list of regular expressions', readMasks, [name, fallback.join(','), meaning]),
    emptyIsValue: true,
  }
}

function readMasks(value: string): readonly string[] {
  const all = value === '' ? [] : value.split(',').map((mask) => mask.trim())
  for (const mask of all) {
    try {
      registryPolicies([mask])
    } catch (err) {
      throw new Error(`must be regular expressions, ${JSON.stringify(mask)} is none`, { cause: err })
    }
  }
  return all
}
