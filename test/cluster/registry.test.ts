import type { Registries } from '@nsm/sdk/elements/discover.js'
import type { KubernetesStore, KubernetesStores } from '@nsm/registry/kubernetes/stores.js'
import type { Registry, RegistryItem } from '@nsm/sdk/registry-chain.js'
import t from 'tap'
import { registryConformance } from '../kit/registry-conformance.ts'
import { until } from '../kit/until.ts'
import { registryWorld } from './registry-world.ts'

const world = await registryWorld(t)

registryConformance('kubernetes', async (t) => {
  await world.clear()
  return world.replica(t)
})

/** Calls that change something go to the first, and have come to the second when they are answered; lookups go to the second. */
function across(first: KubernetesStores, second: KubernetesStores): Registries {
  return {
    networkServices: acrossOne(first.networkServices, second.networkServices),
    networkServiceEndpoints: acrossOne(first.networkServiceEndpoints, second.networkServiceEndpoints),
  }
}

function acrossOne<Item extends RegistryItem, Query, Response>(
  first: KubernetesStore<Item, Query, Response>,
  second: KubernetesStore<Item, Query, Response>,
): Registry<Item, Query, Response> {
  const text = (item: Item | undefined): string => JSON.stringify(item)
  const same = async (name: string): Promise<void> =>
    until(`${name} is the same at both`, () => text(first.living(name)) === text(second.living(name)))
  return {
    async register(ctx, item) {
      const answer = await first.register(ctx, item)
      await same(item.name)
      return answer
    },
    find: (ctx, query) => second.find(ctx, query),
    async unregister(ctx, item) {
      await first.unregister(ctx, item)
      await same(item.name)
    },
  }
}

registryConformance('two replicas on kubernetes', async (t) => {
  await world.clear()
  return across(await world.replica(t), await world.replica(t))
})
