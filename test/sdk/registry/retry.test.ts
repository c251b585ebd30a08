import { background } from '@nsm/sdk/ctx.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import { registryChain, type NetworkServiceEndpointElement } from '@nsm/sdk/registry-chain.js'
import { retry } from '@nsm/sdk/registry/retry.js'
import t from 'tap'
import { advance } from '../../kit/advance.ts'
import { handClock } from '../../kit/clock.ts'
import { endpoint } from '../../kit/registry-conformance.ts'
import { settled } from '../../kit/settled.ts'

/** Answers the codes in turn, then hangs until the call is given up. */
function server(...codes: (Code | 'hang')[]): {
  element: NetworkServiceEndpointElement
  calls: () => number
} {
  let calls = 0
  return {
    calls: () => calls,
    element: {
      name: 'server',
      async register(ctx, item) {
        const code = codes[calls++] ?? 'OK'
        if (code === 'hang')
          await new Promise((_, reject) =>
            ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
          )
        if (code !== 'OK' && code !== 'hang') throw new NsmError(code, `answer ${calls}`)
        return item
      },
      async unregister() {
        if (calls++ === 0) throw new NsmError('UNAVAILABLE', 'down')
      },
    },
  }
}

t.test('repeats every 200 ms until it succeeds, each try for 15 s', async (t) => {
  const clock = handClock()
  const { element, calls } = server('UNAVAILABLE', 'PERMISSION_DENIED', 'hang')
  const call = registryChain([retry(), element]).register(background({ clock }), endpoint('a'))
  await settled()
  t.equal(calls(), 1)
  await advance(clock, 400)
  t.equal(calls(), 3)
  await advance(clock, 15_000)
  t.equal(calls(), 3)
  await advance(clock, 200)
  t.equal((await call).name, 'a')
  t.equal(clock.pending, 0)
})

t.test('what can never succeed is answered at once', async (t) => {
  const { element, calls } = server('INVALID_ARGUMENT')
  const registry = registryChain([retry(), element])
  await t.rejects(registry.register(background(), endpoint('a')), { code: 'INVALID_ARGUMENT' })
  t.equal(calls(), 1)
})

t.test('the end of the caller tells the last real failure', async (t) => {
  const clock = handClock()
  for (const codes of [['UNAVAILABLE'], ['UNAVAILABLE', 'hang']] as const) {
    const controller = new AbortController()
    const { element } = server(...codes, 'hang')
    const registry = registryChain([retry(), element])
    const call = registry.register(background({ clock, signal: controller.signal }), endpoint('a'))
    const outcome = t.rejects(call, { code: 'UNAVAILABLE', message: 'answer 1' })
    await settled()
    await advance(clock, codes.length === 1 ? 100 : 300)
    controller.abort()
    await outcome
    t.equal(clock.pending, 0)
  }
})

t.test('unregister is repeated too', async (t) => {
  const { element, calls } = server()
  const clock = handClock()
  const call = registryChain([retry(), element]).unregister(background({ clock }), endpoint('a'))
  await settled()
  await advance(clock, 200)
  await call
  t.equal(calls(), 2)
})
