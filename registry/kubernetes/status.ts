import { isDeepStrictEqual } from 'node:util'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import type { Known } from './known-objects.ts'
import { objectPath } from './resource.ts'
import type { Shared } from './shared.ts'

/** Tells in the objects' status what the registry makes of them. */
export interface StatusWriter<Item> {
  /** Something about the object has changed. */
  touch(known: Known<Item>): void
  close(): void
}

/** What else a status tells. */
export type MoreStatus<Item> = (item: Item) => Readonly<Record<string, unknown>>

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly lastTransitionTime?: string
  readonly observedGeneration?: number
}

/** Changes that come together are written once; replicas that see the same write at different times, and the later ones find it done. */
const delayMs = 500
const maxWaiting = 200_000
const concurrency = 2

/** Writes conditions, few at a time and whenever there is nothing better to do. One that fails comes again with the object's next change. */
export function statusWriter<Item extends RegistryItem, Query, Response>(
  shared: Shared<Item, Query, Response>,
  more: MoreStatus<Item> = () => ({}),
): StatusWriter<Item> {
  const { resource, known, client, clock, log, random } = shared
  const waiting = new Set<string>()
  let running = 0
  let disarm: (() => void) | undefined

  function work(): void {
    disarm = undefined
    for (const key of waiting) {
      if (running >= concurrency) return
      waiting.delete(key)
      const one = known.get(key)
      const patch = one === undefined ? undefined : changed(one)
      if (one === undefined || patch === undefined) continue
      running += 1
      void write(one, patch).finally(() => {
        running -= 1
        work()
      })
    }
  }

  /** What to write; undefined = it says so already. */
  function changed({ object, item, fault }: Known<Item>): Readonly<Record<string, unknown>> | undefined {
    const told = (object['status'] ?? {}) as { readonly conditions?: readonly Condition[] }
    const before = told.conditions?.find(({ type }) => type === 'Ready')
    const winner = item === undefined ? undefined : known.named(item.name)
    const now = ready(object, fault, winner)
    const extra = item === undefined ? {} : more(item)
    const isTold =
      before !== undefined &&
      before.status === now.status &&
      before.reason === now.reason &&
      before.message === now.message &&
      Object.entries(extra).every(([key, value]) =>
        isDeepStrictEqual((told as Record<string, unknown>)[key], value),
      )
    if (isTold) return undefined
    const since =
      before?.status === now.status && before.lastTransitionTime !== undefined
        ? before.lastTransitionTime
        : `${new Date(clock.now()).toISOString().slice(0, 19)}Z`
    const { generation } = object.metadata
    const condition: Condition = {
      ...now,
      lastTransitionTime: since,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    }
    const others = told.conditions?.filter(({ type }) => type !== 'Ready') ?? []
    return { ...extra, conditions: [...others, condition] }
  }

  async function write({ object, fault }: Known<Item>, status: object): Promise<void> {
    const { namespace = '', name = '', uid } = object.metadata
    if (fault !== undefined) log.warn({ namespace, name, fault }, `${resource.kind.what} is skipped`)
    try {
      const patch = { metadata: { uid }, status }
      known.written(await client.patch(`${objectPath(resource, { namespace, name })}/status`, patch, 'merge'))
    } catch (reason) {
      const err = NsmError.from(reason)
      if (err.code !== 'NOT_FOUND' && err.code !== 'ABORTED')
        log.debug({ namespace, name, code: err.code, err: err.message }, 'status not written')
    }
  }

  return {
    touch({ key }) {
      if (waiting.size >= maxWaiting) return
      waiting.add(key)
      disarm ??= clock.after(delayMs * (1 + 2 * random()), work)
    },
    close() {
      waiting.clear()
      disarm?.()
    },
  }
}

function ready<Item>(
  { metadata }: KubernetesObject,
  fault: string | undefined,
  winner: Known<Item> | undefined,
): Condition {
  const not = (reason: string, message: string): Condition => ({
    type: 'Ready',
    status: 'False',
    reason,
    message,
  })
  if (fault !== undefined) return not('InvalidSpec', `not served: ${fault}`)
  const other = winner?.object.metadata
  if (other !== undefined && other.uid !== metadata.uid)
    return not('NameTaken', `not served: ${other.namespace}/${other.name} has this name`)
  return { type: 'Ready', status: 'True', reason: 'Registered', message: 'served to clients' }
}
