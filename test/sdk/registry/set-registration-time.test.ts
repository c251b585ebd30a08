import { background } from '@nsm/sdk/ctx.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { setRegistrationTime } from '@nsm/sdk/registry/set-registration-time.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'

t.test('told or now, and fixed until unregistered', async (t) => {
  const clock = handClock()
  const ctx = background({ clock })
  const registry = registryChain([setRegistrationTime()])
  const time = async (name: string, told?: number): Promise<number | undefined> => {
    const initialRegistrationTime = told === undefined ? undefined : new Date(told)
    return (
      await registry.register(ctx, endpoint(name, { initialRegistrationTime }))
    ).initialRegistrationTime?.getTime()
  }
  const start = clock.now()
  t.equal(await time('a'), start)
  clock.advance(1000)
  t.equal(await time('a'), start)
  t.equal(await time('a', start - 5), start)
  t.equal(await time('told', start - 5), start - 5, 'it survives a restart of the registry')
  t.equal(await time('ahead', start + 1_000_000), start + 1000)
  t.equal(await time('none', NaN), start + 1000)
  await registry.unregister(ctx, endpoint('a'))
  t.equal(await time('a'), start + 1000)
})
