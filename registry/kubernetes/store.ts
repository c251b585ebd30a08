import { isDeepStrictEqual } from 'node:util'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { informer } from '@nsm/kubernetes/informer.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Registry, RegistryItem } from '@nsm/sdk/registry-chain.js'
import { defaultMemoryLimits, type MemoryLimits } from '@nsm/sdk/registry/memory.js'
import { watchers } from '@nsm/sdk/registry/watchers.js'
import type { Contact } from './contact.ts'
import { contest } from './contest.ts'
import { expiry } from './expiry.ts'
import { knownObjects } from './known-objects.ts'
import { lookups, type Lookups } from './lookups.ts'
import type { Known } from './named-objects.ts'
import { renewals, type Renewals } from './renewals.ts'
import { collectionPath, type Resource } from './resource.ts'
import type { Shared } from './shared.ts'
import { statusWriter, type StatusOptions } from './status.ts'
import { writes, type Writes } from './writes.ts'

/** A registry whose objects are custom resources, which other replicas and people change too. */
export interface KubernetesStore<Item, Query, Response> extends Registry<Item, Query, Response> {
  /** Objects that are served. */
  readonly size: number
  /** Refreshes that wait to be written. */
  readonly waiting: number
  /** All objects have been loaded once; calls are refused with UNAVAILABLE until then. */
  readonly isLoaded: boolean
  /** What is registered under a name and not over. */
  living(name: string): Item | undefined
  /** Whose a name is: an identity, or the object that somebody wrote by hand. Undefined = free. */
  ownerOf(name: string): string | undefined
  /** Somebody was refused this name because it is another's. */
  contest(name: string): void
  /** What the status of this name's object tells has changed. */
  touch(name: string): void
  close(): void
}

export interface StoreOptions<Item> {
  /** For watching; other calls go through `contact`. */
  readonly client: ApiClient
  readonly contact: Contact
  readonly namespace: string
  readonly clock: Clock
  readonly log: Logger
  /** Longest life of a registration that is not refreshed. */
  readonly periodMs: number
  /** Only its owner may change or unregister what is registered. */
  readonly isOwned: boolean
  readonly status: StatusOptions<Item>
  /** An item came, changed or went. */
  readonly served?: (item: Item, deleted: boolean) => void
  readonly expired?: () => void
  readonly limits?: MemoryLimits
  /** 0 ≤ x < 1. */
  readonly random?: () => number
}

/** A refreshed registration is written so many lives ahead, which is one write for six refreshes. */
const livesAhead = 5
/** Refreshes written at one time. */
const concurrency = 16

/** A registry on custom resources of one kind, as the end of a chain (wire contract §5.6, §11.1). */
export function kubernetesStore<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  options: StoreOptions<Item>,
): KubernetesStore<Item, Query, Response> {
  const { contact, clock, log, periodMs, limits = defaultMemoryLimits, random = Math.random } = options
  const { served = () => undefined, expired = () => undefined } = options
  const watches = watchers(resource.kind, limits.watches)
  const known = knownObjects(resource, {
    namespace: options.namespace,
    clock,
    limits,
    served(item, deleted) {
      watches.publish(item, deleted)
      served(item, deleted)
    },
    touched: (one) => status.touch(one),
  })
  const { client, outage } = contact
  const shared = { resource, known, client, outage, namespace: options.namespace, clock, log, random }
  const status = statusWriter(shared, options.status)
  const changes = writes(shared)
  const renewed = renewals(shared, changes, { aheadMs: livesAhead * periodMs, concurrency })
  const ending = expiry(shared, renewed, { graceMs: periodMs, expired })
  const found = lookups(shared, watches)
  const objects = watched(options, shared)
  const calls = registryCalls({
    ...shared,
    changes,
    renewed,
    found,
    isOwned: options.isOwned,
    isLoaded: objects.isLoaded,
  })

  return {
    get size() {
      return known.size
    },
    get waiting() {
      return renewed.waiting
    },
    get isLoaded() {
      return objects.isLoaded()
    },
    living: (name) => found.living(name),
    ownerOf: (name) => found.ownerOf(name),
    contest: contest(shared, changes, { renewed, lifeMs: periodMs }),
    touch: (name) => status.touchName(name),
    ...calls,
    close() {
      objects.close()
      for (const part of [ending, renewed, status]) part.close()
    },
  }
}

/** Follows the objects of all namespaces. */
function watched<Item extends RegistryItem, Query, Response>(
  { client, contact }: Pick<StoreOptions<Item>, 'client' | 'contact'>,
  { resource, known, log, clock, random }: Shared<Item, Query, Response>,
): { readonly isLoaded: () => boolean; close(): void } {
  const objects = informer<KubernetesObject>({
    client,
    path: collectionPath(resource),
    log,
    clock,
    random,
    onList: ({ items, version }) => known.listed(items, version),
  })
  let isLoaded = false
  contact.onBack(() => objects.wake())
  objects.onChange(({ type, object }) => known.told(object, type === 'deleted'))
  void objects.whenSynced().then(
    () => (isLoaded = true),
    () => undefined,
  )
  return { isLoaded: () => isLoaded, close: () => objects.close() }
}

interface Calls<Item extends RegistryItem, Query, Response> extends Shared<Item, Query, Response> {
  readonly changes: Writes<Item>
  readonly renewed: Renewals<Item>
  readonly found: Lookups<Item, Query, Response>
  readonly isOwned: boolean
  readonly isLoaded: () => boolean
}

function registryCalls<Item extends RegistryItem, Query, Response>(
  calls: Calls<Item, Query, Response>,
): Registry<Item, Query, Response> {
  const { resource, known, changes, renewed, found } = calls

  function loaded(): void {
    if (calls.isLoaded()) return
    throw new NsmError('UNAVAILABLE', `${resource.kind.what}s have not been loaded from Kubernetes yet`)
  }

  function check(one: Known<Item>, item: Item): void {
    if (calls.isOwned) found.checkOwner(one, item)
  }

  function isRefresh(one: Known<Item>, item: Item): boolean {
    return found.isLiving(one) && one.item !== undefined && isSameButLife(resource, one.item, item)
  }

  return {
    async register(_ctx, item) {
      loaded()
      let isWritten = true
      await changes.put(item.name, (now) => {
        if (now === undefined) known.admit(item)
        else check(now, item)
        isWritten = now === undefined || !isRefresh(now, item)
        if (now === undefined || isWritten) return item
        renewed.renew(now, item)
        return undefined
      })
      if (isWritten) renewed.wrote(item)
      return item
    },

    async *find(ctx, query) {
      loaded()
      yield* found.find(ctx, query)
    },

    async unregister(_ctx, item) {
      loaded()
      try {
        await changes.remove(item.name, (now) => check(now, item))
      } catch (err) {
        if (NsmError.from(err).code === 'UNAVAILABLE') renewed.end(item.name)
        throw err
      }
    },
  }
}

/** Of the path only the owner counts: the rest is how this call came. */
function isSameButLife<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  a: Item,
  b: Item,
): boolean {
  const { kind, fields } = resource
  if (a.pathIds[0] !== b.pathIds[0]) return false
  if ((kind.expirationTime(a) === undefined) !== (kind.expirationTime(b) === undefined)) return false
  const [x, y] = [resource.encode(a), resource.encode(b)]
  return fields.every(
    (field) => field === 'expiration_time' || field === 'path_ids' || isDeepStrictEqual(x[field], y[field]),
  )
}
