import { detailsOf } from '../certificate.ts'
import type { Clock } from '../clock.ts'
import { reasonOf, SpiffeError } from '../errors.ts'
import { makeRoot, skewMs, type Issued } from './certificates.ts'
import type { RootStore } from './root-store.ts'

export interface RootsOptions {
  readonly trustDomain: string
  readonly clock: Clock
  readonly rootLifeMs: number
  readonly store: RootStore
  /** Renewal comes up to this much late, so that one of the authorities that share a store is first. */
  readonly renewalJitterMs: number
  /** Hears why roots could not be made, read or kept; that is tried again. */
  readonly onProblem: (err: SpiffeError) => void
}

/** The roots of a trust domain, which renew themselves. */
export interface Roots {
  /** Those whose signatures still count, oldest first. */
  readonly alive: readonly Issued[]
  /** Adds a root now. */
  add(): Promise<void>
  /** Calls when the roots are others; `lost`: one that was alive counts no more. The answer stops it. */
  onChange(listener: (lost: boolean) => void): () => void
  close(): void
}

/** Whether a root is to be added to those that are alive. */
type Wanted = (alive: readonly Issued[]) => boolean

/** Pause after a root could not be made or kept. */
const retryMs = 60_000

/**
 * Takes the roots of the store, or makes the first one; from then on each is followed by another at half its life, made by whichever authority
 * of this store comes first. A store that somebody has emptied gets a new root, and those before it count no more.
 * @throws SpiffeError as the store does, or FAILED_PRECONDITION when it holds roots of another trust domain
 */
export async function openRoots(options: RootsOptions): Promise<Roots> {
  const { trustDomain, clock, store, renewalJitterMs, onProblem } = options
  const isAlive = livingAt(clock)
  const listeners = new Set<(lost: boolean) => void>()
  let roots: readonly Issued[] = []
  let disarm: (() => void) | undefined
  let closed = false
  const inTurn = turns()

  const take = (kept: readonly Issued[]): void => {
    const before = roots.filter(isAlive)
    roots = kept.filter(isAlive)
    const lost = before.some((root) => !includes(roots, root))
    if (lost || roots.length > before.length) for (const listener of listeners) listener(lost)
  }
  const grow = async (wanted: Wanted): Promise<void> => take(await grown(options, wanted))
  const isDue = (alive: readonly Issued[]): boolean => renewalOf(alive) <= clock.now()
  const schedule = (waitMs: number): void => {
    disarm?.()
    if (!closed) disarm = clock.after(waitMs, () => void renew(async () => grow(isDue)))
  }
  const untilRenewal = (): number =>
    Math.max(0, renewalOf(roots) - clock.now()) + Math.random() * renewalJitterMs
  const renew = async (body: () => Promise<void>): Promise<void> =>
    inTurn(body).then(
      () => schedule(untilRenewal()),
      (reason: unknown) => {
        onProblem(problemOf(reason))
        schedule(retryMs)
      },
    )
  const follow = async (): Promise<void> => {
    const kept = ofDomain(trustDomain, await store.read())
    if (kept.some(isAlive)) take(kept)
    else await grow((alive) => alive.length === 0)
  }

  const stopFollowing = store.onChange(() => void renew(follow))
  const close = (): void => {
    closed = true
    stopFollowing()
    disarm?.()
  }
  try {
    await inTurn(async () => grow((alive) => alive.length === 0))
  } catch (reason) {
    close()
    throw reason
  }
  schedule(untilRenewal())

  return {
    get alive() {
      return roots.filter(isAlive)
    },
    add: async () => inTurn(async () => grow(() => true)),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close,
  }
}

/** One body after another, also after one that failed. */
function turns(): (body: () => Promise<void>) => Promise<void> {
  let busy: Promise<void> = Promise.resolve()
  return async (body) => {
    busy = busy.catch(() => undefined).then(body)
    return busy
  }
}

/** Adds a root to the store if its living ones want one; answers what is kept then. */
async function grown(options: RootsOptions, wanted: Wanted): Promise<readonly Issued[]> {
  const { trustDomain, clock, rootLifeMs, store } = options
  const kept = await store.update(async (found) => {
    const alive = ofDomain(trustDomain, found).filter(livingAt(clock))
    return wanted(alive) ? [...alive, await makeRoot(trustDomain, clock.now(), rootLifeMs)] : undefined
  })
  return ofDomain(trustDomain, kept)
}

function livingAt(clock: Clock): (root: Issued) => boolean {
  return (root) => endOf(root) > clock.now()
}

/** When a root was made, ms since the epoch. */
export function startOf({ certificate }: Issued): number {
  return detailsOf(certificate).notBeforeMs + skewMs
}

/** When a root's signatures cease to count. */
export function endOf({ certificate }: Issued): number {
  return detailsOf(certificate).notAfterMs
}

function ofDomain(trustDomain: string, kept: readonly Issued[]): readonly Issued[] {
  if (kept.every(({ certificate }) => detailsOf(certificate).uris.includes(`spiffe://${trustDomain}`)))
    return kept
  throw new SpiffeError(
    'FAILED_PRECONDITION',
    `roots of other domains than ${trustDomain} are kept where its own should be`,
  )
}

function includes(roots: readonly Issued[], { certificate }: Issued): boolean {
  return roots.some((root) => root.certificate.fingerprint256 === certificate.fingerprint256)
}

function renewalOf(roots: readonly Issued[]): number {
  const newest = roots.at(-1)
  return newest === undefined ? 0 : (startOf(newest) + endOf(newest)) / 2
}

function problemOf(reason: unknown): SpiffeError {
  return reason instanceof SpiffeError
    ? reason
    : new SpiffeError('UNAVAILABLE', `roots: ${reasonOf(reason)}`, { cause: reason })
}
