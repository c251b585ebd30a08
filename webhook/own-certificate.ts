import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import {
  authoritiesIn,
  bundleOf,
  issuerAmong,
  withFreshAuthority,
  type Authority,
  type AuthorityStore,
} from './authorities.ts'
import type { CertificatePair, ServingCertificate } from './certificate.ts'
import { leafLifeMs, newLeaf } from './issuing.ts'

/** Brings a CA bundle to those who verify us. */
export interface BundlePublisher {
  /** Resolves when it is there: `bundle` is PEM. */
  publish(bundle: string): Promise<void>
  close(): void
}

/** How a certificate is made in process. */
export interface OwnCertificateOptions {
  /** DNS names and addresses that clients call the server by; the first becomes the common name. */
  readonly names: readonly [string, ...string[]]
  /** Where the authority is kept; closed with the certificate once there is one, as is the publisher. */
  readonly store: AuthorityStore
  readonly publisher: BundlePublisher
  readonly log: Logger
  readonly clock?: Clock
}

/** A serving certificate with the authority behind it. */
export interface OwnCertificate extends ServingCertificate {
  /** When the newest authority ends. */
  readonly authorityExpires: () => Date
  /** Why clients cannot be expected to trust it; undefined = they do. */
  readonly fault: () => string | undefined
}

interface Issued {
  readonly pair: CertificatePair
  readonly issuer: string
  /** When it is to be replaced, ms. */
  readonly renewAt: number
}

const retryMs = 60_000

/**
 * A serving certificate from an authority that replicas share. The certificate lives a day and is replaced at two thirds of that;
 * the authority lives a year, and the next one is published a month before its end and signs from an hour later on.
 * Rejects when the store cannot be read or changed.
 */
export async function ownCertificate(options: OwnCertificateOptions): Promise<OwnCertificate> {
  const { names, store, publisher, log, clock = systemClock } = options
  const listeners = new Set<(pair: CertificatePair) => void>()
  const shared = sharedAuthorities(options)
  let isClosed = false
  let disarm = (): void => undefined

  const issue = async (present: Issued | undefined): Promise<Issued> => {
    const now = clock.now()
    const issuer = shared.issuer(now)
    if (present?.issuer === issuer.id && now < present.renewAt) return present
    const pair = await newLeaf(issuer, names, now)
    const life = Math.min(leafLifeMs, pair.expires.getTime() - now)
    return { pair, issuer: issuer.id, renewAt: now + (life * 2) / 3 }
  }
  const renew = async (present?: Issued): Promise<Issued> => {
    await shared.settle(clock.now())
    return issue(present)
  }

  let current = await renew()
  const isTrusted = (): boolean => shared.isTrusted(current.issuer)
  const renewed = async (): Promise<void> => {
    const issued = await renew(current)
    if (isClosed) return
    if (issued !== current) {
      current = issued
      log.info({ expires: issued.pair.expires.toISOString() }, 'serving certificate renewed')
      for (const listener of listeners) listener(issued.pair)
    }
    arm(isTrusted() ? Math.max(retryMs, current.renewAt - clock.now()) : retryMs)
  }
  const arm = (ms: number): void => {
    disarm()
    disarm = clock.after(ms, soon)
  }
  const soon = inTurn(renewed, (err) => {
    log.error({ err: String(err) }, 'serving certificate not renewed, trying again in a minute')
    if (!isClosed) arm(retryMs)
  })
  const unfollow = store.onChange(soon)
  arm(isTrusted() ? current.renewAt - clock.now() : retryMs)
  return {
    get current() {
      return current.pair
    },
    authorityExpires: shared.expire,
    fault: () => (isTrusted() ? undefined : 'the CA bundle was not published yet'),
    onChange: (listener) => void listeners.add(listener),
    close: () => {
      isClosed = true
      disarm()
      unfollow()
      store.close()
      publisher.close()
    },
  }
}

interface SharedAuthorities {
  /** Makes a new one when it is time, and publishes all. Rejects when the store cannot be changed; not when they cannot be published. */
  settle(now: number): Promise<void>
  issuer(now: number): Authority
  isTrusted(id: string): boolean
  /** When the newest ends. */
  readonly expire: () => Date
}

function sharedAuthorities({
  store,
  publisher,
  log,
}: Pick<OwnCertificateOptions, 'store' | 'publisher' | 'log'>): SharedAuthorities {
  let authorities: readonly Authority[] = []
  let trusted: ReadonlySet<string> = new Set()
  return {
    async settle(now) {
      await store.update(async (data) => {
        const fresh = await withFreshAuthority(data, now)
        authorities = authoritiesIn(fresh ?? data)
        return fresh
      })
      try {
        await publisher.publish(bundleOf(authorities))
        trusted = new Set(authorities.map(({ id }) => id))
      } catch (err) {
        log.warn({ err: String(err) }, 'CA bundle not published')
      }
    },
    issuer(now) {
      const issuer = issuerAmong(authorities, trusted, now)
      if (issuer === undefined) throw new NsmError('INTERNAL', 'no certificate authority')
      return issuer
    },
    isTrusted: (id) => trusted.has(id),
    expire: () => new Date(Math.max(...authorities.map(({ expires }) => expires))),
  }
}

/** Runs one after another; any number of calls meanwhile make one more run. */
function inTurn(run: () => Promise<void>, failed: (err: unknown) => void): () => void {
  let isRunning = false
  let isWanted = false
  const go = async (): Promise<void> => {
    isRunning = true
    while (isWanted) {
      isWanted = false
      await run().catch(failed)
    }
    isRunning = false
  }
  return () => {
    isWanted = true
    if (!isRunning) void go()
  }
}
