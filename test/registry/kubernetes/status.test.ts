import { background } from '@nsm/sdk/ctx.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { endpoint } from '../../kit/registry-conformance.ts'
import { replicaWorld } from '../../kit/replica-world.ts'

const ctx = background()
const collection = '/apis/networkservicemesh.io/v1/networkserviceendpoints'

const passing: readonly Code[] = ['RESOURCE_EXHAUSTED', 'ABORTED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED']
for (const code of passing)
  t.test(
    `a status that is not written because of ${code} is written later, those of others at once`,
    async (t) => {
      const { api, clock, replica } = replicaWorld(t)
      const store = await replica()
      const hasStatus = (name: string): boolean =>
        api.store.get(collection, 'nsm-system', name)?.['status'] !== undefined
      let refused = 0
      api.before = (call) => {
        if (!call.endsWith('/a/status') || refused > 0) return
        refused += 1
        throw new NsmError(code, 'not now')
      }
      for (const name of ['a', 'b', 'c', 'd']) await store.register(ctx, endpoint(name))
      await advance(clock, 2000)
      t.equal(refused, 1)
      t.same(['a', 'b', 'c', 'd'].map(hasStatus), [false, true, true, true])
      await advance(clock, 60_000)
      t.ok(hasStatus('a'))
    },
  )
