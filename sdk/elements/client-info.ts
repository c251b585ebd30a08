import { clientLabels } from '@nsm/api/constants.js'
import { connectionOf, type Element } from '../chain.ts'

/** Where this process runs, from NODE_NAME, POD_NAME and CLUSTER_NAME (wire contract §7.1). */
export interface Whereabouts {
  readonly nodeName?: string | undefined
  readonly podName?: string | undefined
  readonly clusterName?: string | undefined
}

/** The labels that tell where a client runs (§1.7), those of unknown things left out. */
export function whereaboutsLabels(whereabouts: Whereabouts): Readonly<Record<string, string>> {
  const fields = Object.keys(clientLabels) as (keyof typeof clientLabels)[]
  return Object.fromEntries(
    fields.flatMap((field) => {
      const value = whereabouts[field]
      return value ? [[clientLabels[field], value]] : []
    }),
  )
}

/** Adds these labels to connections that lack them. */
export function clientInfo(whereabouts: Whereabouts): Element {
  const own = whereaboutsLabels(whereabouts)
  return {
    name: 'client info',
    request(ctx, req, next) {
      const conn = connectionOf(req)
      return next.request(ctx, { ...req, connection: { ...conn, labels: { ...own, ...conn.labels } } })
    },
  }
}
