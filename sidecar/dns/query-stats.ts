import type { Resolution } from '@nsm/sdk/dns/resolver.js'
import type { Metric, Sample } from '@nsm/sdk/process/metrics-text.js'
import type { DnsServerStatus } from './status.ts'

/** Upper bounds in seconds. */
const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const

/** Counts of answered queries. */
export interface QueryStats {
  add(resolution: Resolution, ms: number): void
  /** The whole family, read from here and from the resolver. */
  metrics(
    read: () => { readonly servers: readonly DnsServerStatus[]; readonly cached: number },
  ): readonly Metric[]
}

/** Few codes are ever seen; a peer must not make more of them. */
const maxResults = 64

export function queryStats(): QueryStats {
  const results = new Map<string, { labels: Record<string, string>; value: number }>()
  const buckets: number[] = bounds.map(() => 0)
  let seconds = 0
  let count = 0

  return {
    add({ reply, source }, ms) {
      const labels = { result: String(reply.rcode).toLowerCase(), source }
      const key = `${labels.result} ${source}`
      const known = results.get(key)
      if (known !== undefined) known.value += 1
      else if (results.size < maxResults) results.set(key, { labels, value: 1 })
      const taken = ms / 1_000
      seconds += taken
      count += 1
      const at = bounds.findIndex((bound) => taken <= bound)
      if (at >= 0) buckets[at] = (buckets[at] ?? 0) + 1
    },

    metrics: (read) => [
      {
        name: 'nsm_dns_query_total',
        help: 'Answered queries of the pod, by result and by where the answer is from.',
        type: 'counter',
        read: () => [...results.values()],
      },
      {
        name: 'nsm_dns_query_duration_seconds',
        help: 'Time from a query of the pod to its answer.',
        type: 'histogram',
        read: () => histogram(buckets, seconds, count),
      },
      perServer('nsm_dns_server_answer_total', 'Answers of a server, of any kind.', read, 'answered'),
      perServer('nsm_dns_server_win_total', 'Answers of a server that were the ones given.', read, 'won'),
      perServer('nsm_dns_server_failure_total', 'Questions that a server did not answer.', read, 'failed'),
      {
        name: 'nsm_dns_cache_entries',
        help: 'Answers in the cache.',
        type: 'gauge',
        read: () => [{ value: read().cached }],
      },
    ],
  }
}

function perServer(
  name: string,
  help: string,
  read: () => { readonly servers: readonly DnsServerStatus[] },
  field: 'answered' | 'won' | 'failed',
): Metric {
  return {
    name,
    help,
    type: 'counter',
    read: () =>
      read().servers.map((server) => ({ labels: { server: server.address }, value: server[field] })),
  }
}

function histogram(buckets: readonly number[], seconds: number, count: number): readonly Sample[] {
  let below = 0
  const rows = bounds.map((bound, i): Sample => {
    below += buckets[i] ?? 0
    return { suffix: '_bucket', labels: { le: String(bound) }, value: below }
  })
  return [
    ...rows,
    { suffix: '_bucket', labels: { le: '+Inf' }, value: count },
    { suffix: '_sum', value: seconds },
    { suffix: '_count', value: count },
  ]
}
