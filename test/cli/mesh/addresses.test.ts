import { addressPlan, podAddresses } from '@nsm/cli/mesh/addresses.js'
import t from 'tap'

t.test('nodes and pods have addresses of their own', async (t) => {
  const plan = addressPlan('10.199.0.0/24', '10.244.0.0/16')
  t.match(plan, { switchIp: '10.199.0.1', switchPrefix: '10.199.0.1/24' })
  t.strictSame(plan.node(1), {
    ip: '10.199.0.12',
    prefix: '10.199.0.12/24',
    podCidr: '10.244.1.0/24',
    gateway: '10.244.1.1',
    gatewayPrefix: '10.244.1.1/24',
  })
})

t.test('a node hands out each address once, and never those with a meaning', async (t) => {
  const pods = podAddresses(addressPlan('10.199.0.0/24', '10.0.0.0/16').node(2))
  const all = Array.from({ length: 253 }, () => pods.reserve())
  t.equal(new Set(all).size, 253)
  for (const never of ['10.0.2.0', '10.0.2.1', '10.0.2.255']) t.notOk(all.includes(never), never)
  t.throws(() => pods.reserve(), { code: 'RESOURCE_EXHAUSTED', message: /10\.0\.2\.0\/24/ })
  pods.release('10.0.2.77')
  t.equal(pods.reserve(), '10.0.2.77')
})
