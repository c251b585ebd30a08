import { background } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain, type NetworkServiceEndpointElement } from '@nsm/sdk/registry-chain.js'
import { begin } from '@nsm/sdk/registry/begin.js'
import { heal } from '@nsm/sdk/registry/heal.js'
import { networkServiceEndpointKind as kind } from '@nsm/sdk/registry/kind.js'
import t, { type Test } from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'
import { settled } from '../../kit/settled.ts'

type Event = { deleted: string } | { changed: string } | { error: Error } | { end: true }

/** A registry whose watches a test feeds by hand. */
function world(t: Test) {
  const clock = handClock()
  const life = new AbortController()
  t.teardown(() => life.abort())
  const state = { registers: 0, finds: 0, open: 0, fails: false }
  let feed: (event: Event) => void = () => undefined
  const server: NetworkServiceEndpointElement = {
    name: 'server',
    async register(_ctx, item) {
      state.registers += 1
      if (state.fails) throw new NsmError('UNAVAILABLE', 'down')
      return item
    },
    async *find(ctx, query) {
      t.match(query, { networkServiceEndpoint: { name: 'a' }, watch: true })
      state.finds += 1
      state.open += 1
      try {
        for (;;) {
          const event = await new Promise<Event>((resolve, reject) => {
            feed = resolve
            ctx.signal.addEventListener('abort', () => reject(new NsmError('CANCELLED', 'gone')))
          })
          if ('error' in event) throw event.error
          if ('end' in event) return
          if ('deleted' in event) yield kind.response(endpoint(event.deleted), true)
          else yield kind.response(endpoint(event.changed), false)
        }
      } finally {
        state.open -= 1
      }
    },
  }
  return {
    ctx: background({ clock }),
    clock,
    life,
    state,
    feed: async (event: Event) => {
      feed(event)
      await settled()
    },
    registry: registryChain([begin(kind), heal(kind, { signal: life.signal, random: () => 0 }), server]),
  }
}

t.test('registers again when the watch ends, breaks, or tells that it was deleted', async (t) => {
  const { ctx, clock, state, feed, registry } = world(t)
  await registry.register(ctx, endpoint('a'))
  await settled()
  const endings: Event[] = [{ end: true }, { error: new Error('reset') }, { deleted: 'a' }]
  for (const [n, event] of endings.entries()) {
    await advance(clock, 10_000)
    await feed(event)
    t.equal(state.registers, n + 1, 'not at once')
    await advance(clock, 100)
    t.equal(state.registers, n + 2)
    t.same([state.finds, state.open], [n + 2, 1])
  }
})

t.test('other changes, and those of other names, are nothing to heal', async (t) => {
  const { ctx, clock, state, feed, registry } = world(t)
  await registry.register(ctx, endpoint('a'))
  await settled()
  await feed({ changed: 'a' })
  await feed({ deleted: 'b' })
  await registry.register(ctx, endpoint('a'))
  await advance(clock, 20_000)
  t.same(state, { registers: 2, finds: 1, open: 1, fails: false })
})

t.test('goes on trying with growing pauses; short-lived watches do not make a tight loop', async (t) => {
  const { ctx, clock, state, feed, registry } = world(t)
  await registry.register(ctx, endpoint('a'))
  await settled()
  state.fails = true
  await feed({ end: true })
  await advance(clock, 60_000)
  t.ok(state.registers > 10 && state.registers < 25, `${state.registers} tries in a minute`)
  state.fails = false
  await advance(clock, 5000)
  t.equal(state.finds, 2)
  const before = state.registers
  for (let n = 0; n < 600; n++) {
    await feed({ end: true })
    clock.advance(100)
  }
  t.ok(state.registers - before < 25, `${state.registers - before} registrations in a minute`)
})

t.test('unregistering, or the end of the process, ends the watch and nothing follows', async (t) => {
  for (const way of ['unregister', 'abort'] as const) {
    const { ctx, clock, state, life, registry } = world(t)
    await registry.register(ctx, endpoint('a'))
    await settled()
    if (way === 'unregister') await registry.unregister(ctx, endpoint('a'))
    else life.abort()
    await advance(clock, 20_000)
    t.same(state, { registers: 1, finds: 1, open: 0, fails: false }, way)
    t.equal(clock.pending, 0)
  }
})

t.test('a registration that is refused is not watched', async (t) => {
  const { ctx, state, registry } = world(t)
  state.fails = true
  await t.rejects(registry.register(ctx, endpoint('a')), { code: 'UNAVAILABLE' })
  await settled()
  t.equal(state.finds, 0)
})
