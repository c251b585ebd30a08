import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { backoff } from '@nsm/spiffe/backoff.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { connectedCondition, type NodePod, type PodCondition } from '../node-pods.ts'
import { carriesPackets, type SidecarConnection } from './sidecar-status.ts'
import { wordsPace } from './words-pace.ts'

/** What the condition is to say. */
export interface Connected {
  readonly status: PodCondition['status']
  readonly reason: string
  readonly message: string
  /** Id of the connection whose reason and words these are; absent = of no single one. */
  readonly connection?: string
}

/** The condition of one pod in the API server. */
export interface ConditionWriter {
  /** Writes it unless it is there already; the newest counts, and is tried until it is written. New words of the same failure wait. */
  set(connected: Connected): void
  close(): void
}

export interface ConditionWriterOptions {
  readonly client: Pick<ApiClient, 'patch'>
  /** The pod as it is known now; undefined = gone. */
  readonly pod: () => NodePod | undefined
  readonly clock: Clock
  readonly log: Logger
}

const firstRetryMs = 1_000
const longestRetryMs = 60_000

/** Connected when every connection carries packets; else the first that does not says why. */
export function connectedOf(connections: Iterable<SidecarConnection>): Connected {
  for (const connection of connections) {
    const { id, networkService, reason, message } = connection
    if (!carriesPackets(connection))
      return { status: 'False', reason, message: `${networkService}: ${message}`, connection: id }
  }
  return { status: 'True', reason: 'Connected', message: 'all connections carry packets' }
}

/** Writes the condition of one pod. */
export function conditionWriter({ client, pod, clock, log }: ConditionWriterOptions): ConditionWriter {
  const end = new AbortController()
  const pace = wordsPace(clock)
  let wanted: Connected | undefined
  let written: PodCondition | undefined
  let writing = false
  let disarm: () => void = () => undefined

  const writeOnce = async (next: Connected): Promise<void> => {
    const target = pod()
    // What was written may be told late.
    const there = written ?? target?.connected
    if (target === undefined || isSame(there, next)) return
    const { status, reason, message } = next
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const changedAt = there?.status === status ? (there.lastTransitionTime ?? now) : now
    const condition = { type: connectedCondition, status, reason, message, lastTransitionTime: changedAt }
    await patch(client, target, condition)
    written = condition
    pace.told(subjectOf(next))
  }
  const writeAll = async (): Promise<void> => {
    const retry = backoff({ minMs: firstRetryMs, maxMs: longestRetryMs, random: Math.random })
    writing = true
    try {
      while (wanted !== undefined && !end.signal.aborted) {
        const next: Connected = wanted
        const ms = pace.waitMs(subjectOf(next))
        if (ms > 0) {
          disarm = clock.after(ms, go)
          return
        }
        const failure = await writeOnce(next).then(
          () => undefined,
          (reason: unknown) => NsmError.from(reason),
        )
        const isDone = failure === undefined || isOver(failure)
        if (isDone && wanted === next) wanted = undefined
        if (isDone) continue
        log.warn({ code: failure.code, err: failure.message }, 'condition not written')
        await sleep({ clock, signal: end.signal }, retry.next()).catch(() => undefined)
      }
    } finally {
      writing = false
    }
  }
  const go = (): void => {
    disarm()
    if (!writing) void writeAll()
  }

  return {
    set(connected) {
      wanted = connected
      go()
    },
    close() {
      disarm()
      end.abort(new NsmError('CANCELLED', 'the pod is gone'))
    },
  }
}

/** The pod is gone, or another has its name. */
function isOver({ code }: NsmError): boolean {
  return code === 'NOT_FOUND' || code === 'ABORTED'
}

function isSame(there: PodCondition | undefined, next: Connected): boolean {
  return there?.status === next.status && there.reason === next.reason && there.message === next.message
}

/** All but the words. */
function subjectOf({ status, reason, connection }: Connected): string {
  return JSON.stringify([status, reason, connection])
}

/** Leaves all else of the status alone; a pod of the same name that came after is refused by its uid. */
async function patch(
  client: ConditionWriterOptions['client'],
  { metadata }: NodePod,
  condition: PodCondition,
): Promise<void> {
  const { namespace, name, uid } = metadata
  await client.patch(
    `/api/v1/namespaces/${namespace}/pods/${name}/status`,
    { metadata: { uid }, status: { conditions: [condition] } },
    'strategic',
  )
}
