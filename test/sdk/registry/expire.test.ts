import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { registryChain, type NetworkServiceEndpointElement } from '@nsm/sdk/registry-chain.js'
import { begin } from '@nsm/sdk/registry/begin.js'
import { expire } from '@nsm/sdk/registry/expire.js'
import { networkServiceEndpointKind as kind } from '@nsm/sdk/registry/kind.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'
import { settled } from '../../kit/settled.ts'

const minute = 60_000

function world(leftMs?: number): {
  ctx: Ctx
  clock: ReturnType<typeof handClock>
  gone: string[]
  state: { fails: boolean; lowersTo: number | undefined }
  registry: ReturnType<typeof registryChain<ReturnType<typeof endpoint>, unknown, unknown>>
} {
  const clock = handClock()
  const gone: string[] = []
  const state: { fails: boolean; lowersTo: number | undefined } = { fails: false, lowersTo: undefined }
  const store: NetworkServiceEndpointElement = {
    name: 'store',
    async register(_ctx, item) {
      if (state.fails) throw new NsmError('UNAVAILABLE', 'down')
      return state.lowersTo === undefined ? item : { ...item, expirationTime: new Date(state.lowersTo) }
    },
    async unregister(_ctx, item) {
      gone.push(item.name)
    },
  }
  const ctx = {
    ...background({ clock }),
    deadlineMs: leftMs === undefined ? undefined : clock.now() + leftMs,
  }
  return { ctx, clock, gone, state, registry: registryChain([begin(kind), expire(), store]) }
}

t.test('a registration without expiration time lives a minute', async (t) => {
  const { ctx, clock, gone, registry } = world()
  const answer = await registry.register(ctx, endpoint('a'))
  t.equal(answer.expirationTime?.getTime(), clock.now() + minute)
  await advance(clock, minute - 1)
  t.same(gone, [])
  await advance(clock, 1)
  t.same(gone, ['a'])
  t.equal(clock.pending, 0)
})

t.test(
  'it is shortened by what was asked and by what the next registry says, never lengthened',
  async (t) => {
    const { ctx, clock, state, registry } = world()
    const at = (ms: number): Date => new Date(clock.now() + ms)
    const asked = async (expirationTime: Date): Promise<number> =>
      ((await registry.register(ctx, endpoint('a', { expirationTime }))).expirationTime?.getTime() ?? 0) -
      clock.now()
    t.equal(await asked(at(10_000)), 10_000)
    t.equal(await asked(new Date('9999-12-31T23:59:59Z')), minute)
    state.lowersTo = clock.now() + 5000
    t.equal(await asked(at(20_000)), 5000)
    state.lowersTo = clock.now() + 10 * minute
    t.equal(await asked(at(20_000)), 20_000)
    for (const bad of [at(0), at(-1), new Date(NaN)])
      await t.rejects(asked(bad), { code: 'INVALID_ARGUMENT' })
  },
)

t.test('a refresh starts it anew, one that fails does not', async (t) => {
  const { ctx, clock, gone, state, registry } = world()
  await registry.register(ctx, endpoint('a'))
  await advance(clock, 40_000)
  await registry.register(ctx, endpoint('a'))
  await advance(clock, 40_000)
  t.same(gone, [])
  state.fails = true
  await t.rejects(registry.register(ctx, endpoint('a')), { code: 'UNAVAILABLE' })
  await advance(clock, 20_000)
  t.same(gone, ['a'])
})

t.test('a refresh that comes with the end wins', async (t) => {
  const { ctx, clock, gone, registry } = world()
  await registry.register(ctx, endpoint('a'))
  const refresh = registry.register(ctx, endpoint('a'))
  clock.advance(minute)
  await refresh
  await settled()
  t.same(gone, [])
})

t.test('unregistered is over', async (t) => {
  const { ctx, clock, gone, registry } = world()
  await registry.register(ctx, endpoint('a'))
  await registry.unregister(ctx, endpoint('a'))
  t.equal(clock.pending, 0)
  t.same(gone, ['a'])
})

t.test('it ends earlier by what the caller had left, at most by a quarter', async (t) => {
  const brief = world(10_000)
  await brief.registry.register(brief.ctx, endpoint('a'))
  await advance(brief.clock, 49_000)
  t.same(brief.gone, [])
  await advance(brief.clock, 1000)
  t.same(brief.gone, ['a'])
  const long = world(10 * minute)
  await long.registry.register(long.ctx, endpoint('a'))
  await advance(long.clock, 44_000)
  t.same(long.gone, [])
  await advance(long.clock, 1000)
  t.same(long.gone, ['a'])
})

t.test('many that end together are taken away a few at a time', async (t) => {
  const clock = handClock()
  const state = { now: 0, most: 0, all: 0 }
  const slow: NetworkServiceEndpointElement = {
    name: 'slow',
    async unregister() {
      state.now += 1
      state.most = Math.max(state.most, state.now)
      await new Promise((resolve) => setImmediate(resolve))
      state.now -= 1
      state.all += 1
    },
  }
  const registry = registryChain([begin(kind), expire(), slow])
  const ctx = background({ clock })
  for (let n = 0; n < 500; n++) await registry.register(ctx, endpoint(`e${n}`))
  clock.advance(minute)
  while (state.all < 500) await settled()
  t.equal(state.most, 16)
})
