import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import {
  kubernetesStores,
  type KubernetesStores,
  type StoresOptions,
} from '@nsm/registry/kubernetes/stores.js'
import { silent } from '@nsm/sdk/log.js'
import type { Test } from 'tap'
import { handClock, type HandClock } from './clock.ts'
import { memoryApi, type MemoryApi } from './memory-api.ts'
import { endpoint } from './registry-conformance.ts'
import { settled } from './settled.ts'

/** How long registrations live there. */
export const periodMs = 60_000

/** Replicas of a registry on one API server, at a time of its own. */
export interface ReplicaWorld {
  readonly api: MemoryApi
  readonly clock: HandClock
  /** Starts one, without waiting. */
  stores(options?: Partial<StoresOptions>): KubernetesStores
  /** Starts one; answers its endpoints when they are loaded. */
  replica(options?: Partial<StoresOptions>): Promise<KubernetesStores['networkServiceEndpoints']>
  /** As the chain hands it to the store: lives a period from now. */
  alive(name: string, more?: Partial<NetworkServiceEndpoint>): NetworkServiceEndpoint
}

/** Everything ends with the test. */
export function replicaWorld(t: Test): ReplicaWorld {
  const api = memoryApi()
  const clock = handClock()

  function stores(options: Partial<StoresOptions> = {}): KubernetesStores {
    const opened = kubernetesStores({
      client: api.client(),
      namespace: 'nsm-system',
      clock,
      log: silent,
      periodMs,
      isOwned: true,
      ...options,
    })
    t.teardown(() => opened.close())
    return opened
  }

  return {
    api,
    clock,
    stores,
    async replica(options) {
      const { networkServiceEndpoints } = stores(options)
      await settled()
      return networkServiceEndpoints
    },
    alive: (name, more = {}) => endpoint(name, { expirationTime: new Date(clock.now() + periodMs), ...more }),
  }
}
