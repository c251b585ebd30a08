import { NetworkService } from '@nsm/api/gen/registry.js'
import { background } from '@nsm/sdk/ctx.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { clientInfo } from '@nsm/sdk/registry/client-info.js'
import { setPayload } from '@nsm/sdk/registry/set-payload.js'
import { setRegistrationTime } from '@nsm/sdk/registry/set-registration-time.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'

t.test('setpayload: empty becomes IP, another stays', async (t) => {
  const registry = registryChain([setPayload()])
  const payload = async (of: string): Promise<string> =>
    (await registry.register(background(), NetworkService.fromPartial({ name: 'db', payload: of }))).payload
  t.same([await payload(''), await payload('ETHERNET')], ['IP', 'ETHERNET'])
})

t.test('setregistrationtime: told or now, and fixed until unregistered', async (t) => {
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

t.test('clientinfo: every service gets the labels, what is there stays', async (t) => {
  const registry = registryChain([clientInfo({ nodeName: 'n1', podName: 'p1' })])
  const sent = endpoint('a', {
    networkServiceNames: ['db', 'web'],
    networkServiceLabels: { db: { labels: { nodeName: 'mine', app: 'x' } }, other: { labels: { a: 'b' } } },
  })
  const { networkServiceLabels } = await registry.register(background(), sent)
  t.match(networkServiceLabels, {
    db: { labels: { nodeName: 'mine', podName: 'p1', app: 'x' } },
    web: { labels: { nodeName: 'n1', podName: 'p1' } },
    other: { labels: { a: 'b' } },
  })
  t.same(sent.networkServiceLabels['db']?.labels, { nodeName: 'mine', app: 'x' }, 'the input is as it was')
})
