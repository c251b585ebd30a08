import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { background, valueOf } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { registryChain, type NetworkServiceEndpointElement } from '@nsm/sdk/registry-chain.js'
import { begin, registrationEvents, type RegistrationEvents } from '@nsm/sdk/registry/begin.js'
import { networkServiceEndpointKind as kind } from '@nsm/sdk/registry/kind.js'
import t from 'tap'
import { endpoint } from '../../kit/registry-conformance.ts'
import { settled } from '../../kit/settled.ts'

/** Holds each Register until it is let go; keeps what passed. */
function gate(): {
  element: NetworkServiceEndpointElement
  log: string[]
  seen: NetworkServiceEndpoint[]
  events: () => RegistrationEvents
  /** Lets the oldest one go on, once it is there. */
  go: (err?: Error) => Promise<void>
} {
  const waiting: ((err?: Error) => void)[] = []
  const log: string[] = []
  const seen: NetworkServiceEndpoint[] = []
  let events: RegistrationEvents | undefined
  return {
    log,
    seen,
    events() {
      if (events === undefined) throw new Error('begin left no events')
      return events
    },
    async go(err) {
      await settled()
      waiting.shift()?.(err)
      await settled()
    },
    element: {
      name: 'gate',
      async register(ctx, item, next) {
        log.push(`register ${item.name} ${item.url}`)
        seen.push(item)
        events = valueOf(ctx, registrationEvents)
        await new Promise<void>((resolve, reject) => waiting.push((err) => (err ? reject(err) : resolve())))
        log.push(`registered ${item.name}`)
        return next.register(ctx, { ...item, initialRegistrationTime: new Date(5) })
      },
      async unregister(_ctx, item) {
        log.push(`unregister ${item.name} ${item.url}`)
        seen.push(item)
      },
    },
  }
}

const ctx = background()

t.test('calls of one name run one after another, those of others meanwhile', async (t) => {
  const g = gate()
  const registry = registryChain([begin(kind), g.element])
  const all = [
    registry.register(ctx, endpoint('a', { url: '1' })),
    registry.register(ctx, endpoint('a', { url: '2' })),
    registry.unregister(ctx, endpoint('a')),
    registry.register(ctx, endpoint('b', { url: '3' })),
  ]
  await settled()
  t.same(g.log, ['register a 1', 'register b 3'])
  await g.go()
  await g.go()
  await g.go()
  await Promise.all(all)
  t.same(g.log.slice(2), ['registered a', 'register a 2', 'registered b', 'registered a', 'unregister a 2'])
})

t.test('a caller that gives up leaves the queue; too many waiting are refused', async (t) => {
  const g = gate()
  const registry = registryChain([begin(kind, { maxWaiting: 1 }), g.element])
  const first = registry.register(ctx, endpoint('a', { url: '1' }))
  const controller = new AbortController()
  await settled()
  const second = registry.register(background({ signal: controller.signal }), endpoint('a', { url: '2' }))
  await t.rejects(registry.register(ctx, endpoint('a')), { code: 'RESOURCE_EXHAUSTED' })
  controller.abort(new NsmError('CANCELLED', 'given up'))
  await t.rejects(second, { code: 'CANCELLED' })
  const third = registry.unregister(ctx, endpoint('a'))
  await g.go()
  await Promise.all([first, third])
  t.same(g.log, ['register a 1', 'registered a', 'unregister a 1'])
  await t.rejects(registry.unregister(background({ signal: AbortSignal.abort() }), endpoint('a')), {
    code: 'CANCELLED',
  })
})

t.test('events register the last answer again, without its expiration time', async (t) => {
  const g = gate()
  const registry = registryChain([begin(kind), g.element])
  const first = registry.register(ctx, endpoint('a', { expirationTime: new Date(9) }))
  await g.go()
  await first
  const again = g.events().register()
  await g.go()
  await again
  t.match(g.seen[1], { name: 'a', initialRegistrationTime: new Date(5), expirationTime: undefined })
})

t.test('events unregister only if still wanted, and nothing twice', async (t) => {
  const g = gate()
  const registry = registryChain([begin(kind), g.element])
  const first = registry.register(ctx, endpoint('a'))
  await g.go()
  await first
  await g.events().unregister(() => false)
  t.equal(g.seen.length, 1)
  await g.events().unregister()
  await g.events().unregister()
  await g.events().register()
  t.equal(g.seen.length, 2)
})

t.test('a failed refresh leaves the registration known, a failed first one does not', async (t) => {
  const g = gate()
  const registry = registryChain([begin(kind, { maxNames: 1 }), g.element])
  const attempt = async (name: string, err?: Error): Promise<unknown> => {
    const call = registry.register(ctx, endpoint(name))
    void g.go(err)
    return call
  }
  await t.rejects(attempt('a', new NsmError('UNAVAILABLE', 'down')), { code: 'UNAVAILABLE' })
  await attempt('b')
  await t.rejects(attempt('b', new NsmError('UNAVAILABLE', 'down')), { code: 'UNAVAILABLE' })
  await t.rejects(registry.register(ctx, endpoint('c')), { code: 'RESOURCE_EXHAUSTED' })
  await registry.unregister(ctx, endpoint('b', { url: 'forgotten by the caller', pathIds: ['new'] }))
  t.match(g.seen.at(-1), { url: 'tcp://10.0.0.1:5001', pathIds: ['new'] })
})

t.test('an unknown name is handed on, an empty one refused', async (t) => {
  const g = gate()
  const registry = registryChain([begin(kind), g.element])
  await registry.unregister(ctx, endpoint('a', { url: 'x' }))
  t.same(g.log, ['unregister a x'])
  await t.rejects(registry.register(ctx, endpoint('')), { code: 'INVALID_ARGUMENT' })
  await t.rejects(registry.unregister(ctx, endpoint('')), { code: 'INVALID_ARGUMENT' })
})
