import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { informer } from '@nsm/kubernetes/informer.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { followFacts, type ClusterFacts } from './cluster-facts.ts'
import type { Input } from './input.ts'
import { leanNode, nodePrefixes, type NodeObject } from './node-prefixes.ts'
import { serviceRanges } from './service-ranges.ts'

/** All that prefixes come from; undefined while one of them isn't known. */
export interface Sources {
  prefixes(): readonly Prefix[] | undefined
  /** Names of those that are not known. */
  unknown(): readonly string[]
  close(): void
}

/** Follows the cluster; `changed` is called whenever `prefixes` may answer something else. */
export function clusterSources(options: {
  readonly client: ApiClient
  readonly input: Input
  readonly log: Logger
  readonly changed: () => void
}): Sources {
  const { client, input, log, changed } = options
  const end = new AbortController()
  const nodes = informer<NodeObject>({ client, path: '/api/v1/nodes', log, keep: leanNode })
  nodes.onChange(({ type, object, previous }) => {
    // A node's status is written each few minutes without anything new for us.
    const isSame = isDeepStrictEqual([object.spec, object.status], [previous?.spec, previous?.status])
    if (type !== 'modified' || !isSame) changed()
  })
  void nodes.whenSynced().then(changed, () => undefined)
  const services = serviceRanges(client, log, changed)
  let facts: ClusterFacts | undefined
  const take = (now: ClusterFacts): void => {
    facts = now
    services.use(now)
  }
  void followFacts({ client, clock: systemClock, log, signal: end.signal, take })

  const parts = (): Readonly<Record<string, readonly Prefix[] | undefined>> => ({
    nodes: nodes.isListed ? [...nodes.values()].flatMap(nodePrefixes) : undefined,
    'service ranges': services.prefixes(),
    'kubeadm’s configuration': facts?.pods,
    'the ConfigMap of users': input.prefixes(),
  })
  return {
    prefixes() {
      const found = Object.values(parts())
      return found.every((part) => part !== undefined) ? found.flat() : undefined
    },
    unknown: () => Object.entries(parts()).flatMap(([name, part]) => (part === undefined ? [name] : [])),
    close() {
      end.abort()
      nodes.close()
      services.close()
      input.close()
    },
  }
}
