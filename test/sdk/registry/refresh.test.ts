import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain, type NetworkServiceEndpointElement } from '@nsm/sdk/registry-chain.js'
import { begin } from '@nsm/sdk/registry/begin.js'
import { networkServiceEndpointKind as kind } from '@nsm/sdk/registry/kind.js'
import { refresh } from '@nsm/sdk/registry/refresh.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock, type HandClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'

interface World {
  ctx: Ctx
  clock: HandClock
  /** Expiration times that came, one per Register. */
  seen: (Date | undefined)[]
  state: { fails: boolean; lifeMs: number | undefined }
  registry: ReturnType<typeof registryChain<ReturnType<typeof endpoint>, unknown, unknown>>
}

function world(random = 0): World {
  const clock = handClock()
  const seen: (Date | undefined)[] = []
  const state: World['state'] = { fails: false, lifeMs: 60_000 }
  const server: NetworkServiceEndpointElement = {
    name: 'server',
    async register(_ctx, item) {
      seen.push(item.expirationTime)
      if (state.fails) throw new NsmError('UNAVAILABLE', 'down')
      const { lifeMs } = state
      return { ...item, expirationTime: lifeMs === undefined ? undefined : new Date(clock.now() + lifeMs) }
    },
  }
  const registry = registryChain([begin(kind), refresh(kind, { random: () => random }), server])
  return { ctx: background({ clock }), clock, seen, state, registry }
}

t.test('registers again at two thirds of the life, with the expiration time unset', async (t) => {
  const { ctx, clock, seen, registry } = world()
  await registry.register(ctx, endpoint('a', { expirationTime: new Date(clock.now() + 90_000) }))
  await advance(clock, 39_900)
  t.equal(seen.length, 1)
  await advance(clock, 100)
  t.equal(seen.length, 2)
  t.equal(seen[1], undefined)
  await advance(clock, 40_000)
  t.equal(seen.length, 3)
  await registry.unregister(ctx, endpoint('a'))
  t.equal(clock.pending, 0)
})

t.test('chance makes it earlier by a tenth at most', async (t) => {
  const { ctx, clock, seen, registry } = world(0.999_999)
  await registry.register(ctx, endpoint('a'))
  await advance(clock, 35_900)
  t.equal(seen.length, 1)
  await advance(clock, 200)
  t.equal(seen.length, 2)
})

t.test('an answer without expiration time is never refreshed', async (t) => {
  const { ctx, clock, state, registry } = world()
  state.lifeMs = undefined
  await registry.register(ctx, endpoint('a'))
  t.equal(clock.pending, 0)
})

t.test('a refresh that fails is repeated with growing pauses until one succeeds', async (t) => {
  const { ctx, clock, seen, state, registry } = world()
  await registry.register(ctx, endpoint('a'))
  state.fails = true
  await advance(clock, 40_000)
  t.equal(seen.length, 2)
  await advance(clock, 200)
  t.equal(seen.length, 3)
  await advance(clock, 60_000)
  t.ok(seen.length < 25, `${seen.length} tries in a minute`)
  const tries = seen.length
  state.fails = false
  await advance(clock, 5000)
  t.equal(seen.length, tries + 1)
  await advance(clock, 30_000)
  t.equal(seen.length, tries + 1)
})

t.test('a life in the past or of no time does not make a tight loop', async (t) => {
  const { ctx, clock, seen, state, registry } = world()
  state.lifeMs = -1
  await registry.register(ctx, endpoint('a'))
  await advance(clock, 1000)
  t.equal(seen.length, 6)
  state.lifeMs = NaN
  await advance(clock, 1000)
  t.equal(seen.length, 7)
})
