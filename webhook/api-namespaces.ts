import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { informer } from '@nsm/kubernetes/informer.js'
import { namespaceInfo, type NamespaceInfo, type Namespaces } from './namespaces.ts'

export interface ApiNamespacesOptions {
  readonly client: ApiClient
  /** Key of the annotation that counts; others are not kept. */
  readonly annotation: string
  readonly log: Logger
  readonly clock?: Clock
}

/** A pod may be made right behind its namespace; less than the time-out that the API server has for us. */
const waitMs = 1_000

/** The namespaces of a cluster, followed. What was known stays known while the API server is away. */
export function namespacesFromApi(options: ApiNamespacesOptions): Namespaces {
  const { client, annotation, log, clock = systemClock } = options
  const followed = informer<KubernetesObject>({
    client,
    path: '/api/v1/namespaces',
    log,
    clock,
    keep: (object) => essential(object, annotation),
  })
  const waiting = new Map<string, Set<() => void>>()
  let wasSynced = false
  followed.whenSynced().then(
    () => (wasSynced = true),
    () => undefined,
  )
  followed.onChange(({ type, object }) => {
    if (type === 'added') for (const go of waiting.get(object.metadata.name ?? '') ?? []) go()
  })
  const get = (name: string): NamespaceInfo | undefined => {
    const found = followed.get(undefined, name)
    return found && namespaceInfo(found.metadata)
  }
  return {
    isComplete: true,
    get,
    known: async (name) => {
      if (get(name) !== undefined) return
      const here = waiting.get(name) ?? new Set()
      waiting.set(name, here)
      await new Promise<void>((done) => {
        const go = (): void => {
          cancel()
          here.delete(go)
          if (here.size === 0) waiting.delete(name)
          done()
        }
        const cancel = clock.after(waitMs, go)
        here.add(go)
      })
    },
    fault: () => (wasSynced ? undefined : 'the namespaces were not read yet'),
    close: () => {
      followed.close()
      for (const all of waiting.values()) for (const go of all) go()
    },
  }
}

/** What a decision needs; annotations of others may be large. */
function essential(object: KubernetesObject, annotation: string): KubernetesObject {
  const { name, uid, resourceVersion, labels, annotations } = object.metadata
  const value = annotations?.[annotation]
  return {
    metadata: {
      ...(name === undefined ? {} : { name }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(labels === undefined ? {} : { labels }),
      ...(value === undefined ? {} : { annotations: { [annotation]: value } }),
    },
  }
}
