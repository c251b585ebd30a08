import { informer, type Informer } from '@nsm/kubernetes/informer.js'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import type { ClusterFacts } from './cluster-facts.ts'
import {
  derivedServicePrefixes,
  leanService,
  serviceCidrPrefixes,
  type ServiceCidrObject,
  type ServiceObject,
} from './service-prefixes.ts'

/** Where services get their addresses. */
export interface ServiceRanges {
  /** Chooses the best source that the cluster has: its ServiceCIDR objects, kubeadm's configuration, or what the services' addresses tell. */
  use(facts: ClusterFacts): void
  /** undefined = not known yet. */
  prefixes(): readonly Prefix[] | undefined
  close(): void
}

interface Followed {
  readonly path: string
  readonly source: Pick<Informer<KubernetesObject>, 'close' | 'isListed'>
  readonly prefixes: () => readonly Prefix[]
}

/** `changed` is called whenever `prefixes` may answer something else. */
export function serviceRanges(client: ApiClient, log: Logger, changed: () => void): ServiceRanges {
  let told: readonly Prefix[] = []
  let isChosen = false
  let followed: Followed | undefined

  function follow<T extends KubernetesObject>(
    path: string,
    read: (objects: Iterable<T>) => readonly Prefix[],
    keep?: (object: T) => T,
  ): void {
    if (followed?.path === path) return
    followed?.source.close()
    const source = informer<T>({ client, path, log, ...(keep === undefined ? {} : { keep }) })
    source.onChange(changed)
    void source.whenSynced().then(changed, () => undefined)
    followed = { path, source, prefixes: () => read(source.values()) }
    log.info({ path }, 'service ranges are read from here')
  }

  return {
    use({ hasServiceCidrs, services }) {
      told = services
      isChosen = true
      if (hasServiceCidrs) {
        follow<ServiceCidrObject>('/apis/networking.k8s.io/v1/servicecidrs', (all) =>
          [...all].flatMap(serviceCidrPrefixes),
        )
      } else if (services.length === 0) {
        follow<ServiceObject>('/api/v1/services', derivedServicePrefixes, leanService)
      } else {
        followed?.source.close()
        followed = undefined
      }
      changed()
    },
    prefixes() {
      if (!isChosen || followed?.source.isListed === false) return undefined
      return [...told, ...(followed?.prefixes() ?? [])]
    },
    close: () => followed?.source.close(),
  }
}
