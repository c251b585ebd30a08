import { NetworkService } from '@nsm/api/gen/registry.js'
import { register, type RegistrationConfig } from '@nsm/nse/registration.js'
import { background } from '@nsm/sdk/ctx.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import t from 'tap'
import { advance } from '../kit/advance.ts'
import { handClock } from '../kit/clock.ts'

const config: RegistrationConfig = {
  name: 'nse',
  serviceNames: ['svc'],
  payload: 'ETHERNET',
  labels: { app: 'x' },
  registerService: true,
  nodeName: undefined,
  podName: undefined,
  clusterName: undefined,
}

/** Registries that never take a service, as a registry client is that tries until it succeeds; they know these services. */
function refusing(known: readonly string[]): { registries: Registries; asked: string[] } {
  const asked: string[] = []
  const registries: Registries = {
    networkServices: {
      register: async (ctx, item) => {
        asked.push(item.name)
        return new Promise((_, reject) =>
          ctx.signal.addEventListener('abort', () => reject(new Error('given up'))),
        )
      },
      unregister: async () => undefined,
      find: async function* () {
        for (const name of known)
          yield {
            networkService: NetworkService.fromPartial({ name, pathIds: ['spiffe://td/other'] }),
            deleted: false,
          }
      },
    },
    networkServiceEndpoints: registryChain([]),
  }
  return { registries, asked }
}

t.test('a service that another has registered is served as it is', async (t) => {
  const clock = handClock()
  const { registries, asked } = refusing(['svc-2', 'svc'])
  const done = register(background({ clock }), registries, config, 'unix:///a')
  await advance(clock, 1_000)
  t.match(await done, { name: 'nse', networkServiceNames: ['svc'], url: 'unix:///a' })
  t.strictSame(asked, ['svc'])
})

t.test('one that nobody has is waited for', async (t) => {
  const clock = handClock()
  const stop = new AbortController()
  const done = register(
    background({ clock, signal: stop.signal }),
    refusing(['svc-2']).registries,
    config,
    'unix:///a',
  )
  const ended = t.rejects(done)
  await advance(clock, 10_000)
  stop.abort(new Error('given up'))
  await ended
})

t.test('services stay alone when that is wanted', async (t) => {
  const { registries, asked } = refusing([])
  await register(background(), registries, { ...config, registerService: false }, 'unix:///a')
  t.strictSame(asked, [])
})
