import { NetworkService } from '@nsm/api/gen/registry.js'
import { background } from '@nsm/sdk/ctx.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { setPayload } from '@nsm/sdk/registry/set-payload.js'
import t from 'tap'

t.test('empty becomes IP, another stays', async (t) => {
  const registry = registryChain([setPayload()])
  const payload = async (of: string): Promise<string> =>
    (await registry.register(background(), NetworkService.fromPartial({ name: 'db', payload: of }))).payload
  t.same([await payload(''), await payload('ETHERNET')], ['IP', 'ETHERNET'])
})
