import { clientPolicyMasks, registryPolicies, serverPolicyMasks } from '@nsm/sdk/registry/policies.js'
import t from 'tap'

t.test('masks choose policies by the names of their files', (t) => {
  t.equal(registryPolicies(serverPolicyMasks).length, 6)
  t.equal(registryPolicies(clientPolicyMasks).length, 5)
  t.equal(registryPolicies(['etc/nsm/opa/common/tokens_valid.rego']).length, 1)
  t.equal(registryPolicies(['.*tokens.*']).length, 3)
  t.equal(registryPolicies(['tokens_valid', 'nothing']).length, 0, 'a mask describes the whole name')
  t.equal(registryPolicies([]).length, 0)
  t.throws(() => registryPolicies(['(']), { code: 'INVALID_ARGUMENT', message: /mask \(/ })
  t.end()
})
