import { setImmediate } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { informer } from '@nsm/kubernetes/informer.js'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Registry, RegistryItem } from '@nsm/sdk/registry-chain.js'
import { defaultMemoryLimits, type MemoryLimits } from '@nsm/sdk/registry/memory.js'
import { watchers } from '@nsm/sdk/registry/watchers.js'
import type { Contact } from './contact.ts'
import { expiry } from './expiry.ts'
import { knownObjects, type Known } from './known-objects.ts'
import { renewals } from './renewals.ts'
import { collectionPath, type Resource } from './resource.ts'
import type { Shared } from './shared.ts'
import { statusWriter, type MoreStatus } from './status.ts'
import { writes } from './writes.ts'

/** A registry whose objects are custom resources; other replicas and people change them too. */
export interface KubernetesStore<Item, Query, Response> extends Registry<Item, Query, Response> {
  /** Objects that are served. */
  readonly size: number
  /** Refreshes that wait to be written. */
  readonly waiting: number
  /** All objects have been loaded once; calls are refused until then. */
  readonly isLoaded: boolean
  /** What is registered under a name and not over. */
  living(name: string): Item | undefined
  /** Whose a name is: an identity, or the object that somebody wrote by hand. Undefined = free. */
  ownerOf(name: string): string | undefined
  /** The status of what has this name says something else now. */
  touch(name: string): void
  /** Calls for each item that comes, changes or goes. */
  onServed(listener: (item: Item, deleted: boolean) => void): void
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
  readonly expired?: () => void
  readonly status?: MoreStatus<Item>
  readonly limits?: MemoryLimits
  readonly random?: () => number
}

/** A refreshed registration is written so many lives ahead: one write for about as many refreshes. */
const livesAhead = 5
/** Refreshes written at one time. */
const concurrency = 16
/** Objects looked at between two turns of the event loop. */
const batch = 256

/** A registry on custom resources of one kind, as the end of a chain (wire contract §5.6, §11.1). */
export function kubernetesStore<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  options: StoreOptions<Item>,
): KubernetesStore<Item, Query, Response> {
  const { client, contact, namespace, clock, log, periodMs, limits = defaultMemoryLimits } = options
  const { kind } = resource
  const watches = watchers(kind, limits.watches)
  const listeners = new Set<(item: Item, deleted: boolean) => void>()
  const known = knownObjects(resource, {
    namespace,
    clock,
    limits,
    served(item, deleted) {
      watches.publish(item, deleted)
      for (const listener of listeners) listener(item, deleted)
    },
    touched: (one) => status.touch(one),
  })
  const { random = Math.random } = options
  const shared: Shared<Item, Query, Response> = {
    resource,
    known,
    client: contact.client,
    contact,
    namespace,
    clock,
    log,
    random,
  }
  const status = statusWriter(shared, options.status)
  const { put, remove } = writes(shared)
  const renewed = renewals(shared, put, { aheadMs: livesAhead * periodMs, concurrency })
  const ending = expiry(shared, renewed, { graceMs: periodMs, expired: options.expired ?? (() => undefined) })
  let isLoaded = false
  const objects = informer<KubernetesObject>({ client, path: collectionPath(resource), log, clock })
  objects.onChange(({ type, object }) => known.told(object, type === 'deleted'))
  void objects.whenSynced().then(
    () => (isLoaded = true),
    () => undefined,
  )

  function loaded(): void {
    if (!isLoaded) throw new NsmError('UNAVAILABLE', `${kind.what}s have not been loaded from Kubernetes yet`)
  }

  function isLiving({ item }: Known<Item>): boolean {
    return item !== undefined && (kind.expirationTime(item)?.getTime() ?? Infinity) > contact.expiryNow()
  }

  function living(name: string): Item | undefined {
    const one = known.named(name)
    return one !== undefined && isLiving(one) ? one.item : undefined
  }

  function checkOwner(one: Known<Item> | undefined, { name, pathIds }: Item): void {
    const owner = one === undefined ? undefined : ownerOf(one, isLiving(one))
    if (!options.isOwned || owner === undefined || pathIds[0] === undefined || owner === pathIds[0]) return
    throw new NsmError('PERMISSION_DENIED', `${kind.what} ${name}: the name belongs to ${owner}`)
  }

  async function* present(ctx: Ctx, pattern: Item): AsyncGenerator<Response, void, undefined> {
    for (const [n, name] of known.candidates(pattern).entries()) {
      if (ctx.signal.aborted) return
      const item = living(name)
      if (item !== undefined && kind.matches(pattern, item)) yield kind.response(item, false)
      if (n % batch === batch - 1) await setImmediate()
    }
  }

  return {
    get size() {
      return known.size
    },
    get waiting() {
      return renewed.waiting
    },
    get isLoaded() {
      return isLoaded
    },
    living,

    ownerOf(name) {
      const one = known.named(name) ?? known.at(namespace, name)
      return one === undefined ? undefined : ownerOf(one, isLiving(one))
    },

    touch(name) {
      const one = known.named(name)
      if (one !== undefined) status.touch(one)
    },

    onServed: (listener) => void listeners.add(listener),

    async register(_ctx, item) {
      loaded()
      let isRefresh = false
      await put(item.name, (now) => {
        checkOwner(now, item)
        if (now === undefined) known.admit(item)
        isRefresh = now?.item !== undefined && isLiving(now) && isSameButLife(resource, now.item, item)
        if (!isRefresh || now === undefined) return item
        renewed.renew(now, item)
        return undefined
      })
      if (!isRefresh) renewed.wrote(item)
      return item
    },

    async *find(ctx, query) {
      loaded()
      const pattern = kind.pattern(query)
      const watch = kind.isWatch(query) ? watches.open(ctx, pattern) : undefined
      try {
        yield* present(ctx, pattern)
        if (watch !== undefined) yield* watch.events(ctx.signal)
      } finally {
        watch?.close()
      }
    },

    async unregister(_ctx, item) {
      loaded()
      try {
        await remove(item.name, (now) => {
          checkOwner(now, item)
          return true
        })
      } catch (err) {
        if (NsmError.from(err).code === 'UNAVAILABLE') renewed.end(item.name)
        throw err
      }
    },

    close() {
      objects.close()
      ending.close()
      renewed.close()
      status.close()
    },
  }
}

/** What was written by hand has no identity: it belongs to who may write the object. */
function ownerOf<Item extends RegistryItem>(
  { key, item, fault }: Known<Item>,
  isLiving: boolean,
): string | undefined {
  if (fault !== undefined) return `the object ${key}, which cannot be read: ${fault}`
  return isLiving ? (item?.pathIds[0] ?? `the object ${key}, which was not registered`) : undefined
}

/** Of the path only the owner counts: the rest is how this call came. */
function isSameButLife<Item extends RegistryItem, Query, Response>(
  resource: Resource<Item, Query, Response>,
  a: Item,
  b: Item,
): boolean {
  if (a.pathIds[0] !== b.pathIds[0]) return false
  const [x, y] = [resource.encode(a), resource.encode(b)]
  return resource.fields.every(
    (field) => field === 'expiration_time' || field === 'path_ids' || isDeepStrictEqual(x[field], y[field]),
  )
}
