import { Connection } from '@nsm/api/gen/connection.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { limit } from '@nsm/sdk/elements/limit.js'
import t from 'tap'
import { refusing } from '../../kit/elements.ts'
import { testAuthority } from '../../kit/identity.ts'
import { settled } from '../../kit/settled.ts'

const ca = await testAuthority('k8s.nsm')
const as = (path: string): Ctx => {
  const svid = ca.svid(path)
  const { id: spiffeId, certificates } = svid
  return {
    ...background(),
    peer: { spiffeId, certificate: certificates[0], localSvid: svid, descriptors: undefined },
  }
}
const connOf = (id: string, index = 1): Connection =>
  Connection.fromPartial({ id, path: { index, pathSegments: [{}, {}] } })
const ask = (id: string, index = 1) => ({ connection: connOf(id, index), mechanismPreferences: [] })
const full = { code: 'RESOURCE_EXHAUSTED' }

t.test('a client’s connections are bounded, closed and failed ones do not count', async (t) => {
  const { state, element } = refusing()
  const service = chain([limit({ maxConnections: 2 }), element])
  const alice = as('/alice')
  await t.rejects(service.request(alice, ask('x')), { code: 'UNAVAILABLE' })
  state.on = false
  await service.request(alice, ask('a'))
  await service.request(alice, ask('b'))
  await t.rejects(service.request(alice, ask('c')), full)
  await service.request(alice, ask('a'))
  await service.request(as('/bob'), ask('d'))
  await service.request(alice, ask('e', 2))
  await service.close(background(), connOf('a'))
  await service.request(alice, ask('c'))
  state.on = true
  await t.rejects(service.request(alice, ask('b')), { code: 'UNAVAILABLE' }, 'a refresh that fails')
  state.on = false
  await t.rejects(service.request(alice, ask('f')), full)
})

t.test('a caller’s running calls are bounded, those without a caller are not', async (t) => {
  const waiting: (() => void)[] = []
  const slow: Element = {
    name: 'slow',
    async request(ctx, req, next) {
      await new Promise<void>((resolve) => waiting.push(resolve))
      return next.request(ctx, req)
    },
  }
  const service = chain([limit({ maxCalls: 1 }), slow])
  const alice = as('/alice')
  const calls = [
    service.request(alice, ask('a')),
    service.request(as('/bob'), ask('b')),
    service.request(background(), ask('c')),
    service.request(background(), ask('d')),
  ]
  await t.rejects(service.request(alice, ask('e')), full)
  await settled()
  t.equal(waiting.length, 4)
  for (const go of waiting) go()
  await Promise.all(calls)
  await service.close(alice, connOf('a'))
})
