import { NsmError } from '@nsm/sdk/errors.js'
import { rightsLine } from '../cluster/access.ts'
import type { Cluster, Item } from '../cluster/cluster.ts'
import { inParallel } from '../cluster/in-parallel.ts'
import { metricsOf } from '../cluster/installation.ts'
import { valuesOf } from '../cluster/metrics.ts'
import { count, warning, type Finding } from './finding.ts'

/** A metric of several pods. */
export interface PartMetrics {
  readonly found: readonly { readonly pod: string; readonly values: readonly number[] }[]
  /** What could not be asked, if anything. */
  readonly unasked: readonly Finding[]
}

/** Each that can't be reached takes its time: after so many the others are not asked. */
const mostUnreached = 8

/** Asks pods of the mesh through the API server. One that can't be reached may be well all the same; missing rights reject. */
export async function partMetrics(
  cluster: Cluster,
  pods: readonly Item[],
  metric: string,
): Promise<PartMetrics> {
  const unreached: string[] = []
  const found = await inParallel(pods, mostUnreached, async (pod) => {
    if (unreached.length >= mostUnreached) return []
    const { name = '' } = pod.metadata
    try {
      return [{ pod: name, values: valuesOf(await metricsOf(cluster, pod), metric) }]
    } catch (reason) {
      const { message } = NsmError.from(reason)
      if (rightsLine(message) !== undefined) throw reason
      unreached.push(`${name}: ${message}`)
      return []
    }
  })
  const answers = found.flat()
  const text = `${count(pods.length - answers.length, 'ready part')} of ${pods.length} can't be asked through the API server: ${unreached[0]}`
  const hint =
    'a NetworkPolicy (networkPolicy.metricsFrom, or another) may keep the API server from their port ops; what scrapes them knows more'
  return { found: answers, unasked: unreached.length === 0 ? [] : [warning(text, hint)] }
}
