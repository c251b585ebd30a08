import { detailsOf } from '../certificate.ts'
import type { Clock } from '../clock.ts'
import { SpiffeError } from '../errors.ts'
import { makeRoot, skewMs, type Issued } from './certificates.ts'
import { readKeyFile, writeKeyFile } from './key-file.ts'

export interface RootsOptions {
  readonly trustDomain: string
  readonly clock: Clock
  readonly rootLifeMs: number
  /** Keeps the roots across restarts; absent = they end with the process. */
  readonly keyFile: string | undefined
}

/** The roots of a trust domain, which renew themselves. */
export interface Roots {
  /** Those whose signatures still count, oldest first. */
  readonly alive: readonly Issued[]
  /** Adds a root now. */
  add(): Promise<void>
  /** Calls when there is a new root; the answer stops it. */
  onChange(listener: () => void): () => void
  close(): void
}

/** Pause after a root could not be made or kept. */
const retryMs = 60_000

/**
 * Loads the roots, or makes the first one; from then on each is followed by another at half its life.
 * @throws SpiffeError FAILED_PRECONDITION when the key file cannot be used.
 */
export async function openRoots({ trustDomain, clock, rootLifeMs, keyFile }: RootsOptions): Promise<Roots> {
  const isAlive = (root: Issued): boolean => endOf(root) > clock.now()
  let roots = (await keptRoots(trustDomain, keyFile)).filter(isAlive)
  const listeners = new Set<() => void>()
  let disarm: (() => void) | undefined
  let busy: Promise<void> = Promise.resolve()

  const make = async (): Promise<void> => {
    const next = [...roots.filter(isAlive), await makeRoot(trustDomain, clock.now(), rootLifeMs)]
    if (keyFile !== undefined) await writeKeyFile(keyFile, next)
    roots = next
    for (const listener of listeners) listener()
  }
  const add = async (): Promise<void> => {
    busy = busy.catch(() => undefined).then(make)
    return busy
  }
  const schedule = (waitMs: number): void => {
    disarm = clock.after(waitMs, () => {
      void add().then(
        () => schedule(untilRenewal()),
        () => schedule(retryMs),
      )
    })
  }
  const untilRenewal = (): number => Math.max(0, renewalOf(roots) - clock.now())

  if (roots.length === 0) await add()
  schedule(untilRenewal())

  return {
    get alive() {
      return roots.filter(isAlive)
    },
    add,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: () => disarm?.(),
  }
}

/** When a root was made, ms since the epoch. */
export function startOf({ certificate }: Issued): number {
  return detailsOf(certificate).notBeforeMs + skewMs
}

/** When a root's signatures cease to count. */
export function endOf({ certificate }: Issued): number {
  return detailsOf(certificate).notAfterMs
}

async function keptRoots(trustDomain: string, keyFile: string | undefined): Promise<readonly Issued[]> {
  if (keyFile === undefined) return []
  const kept = await readKeyFile(keyFile)
  if (kept.every(({ certificate }) => detailsOf(certificate).uris.includes(`spiffe://${trustDomain}`)))
    return kept
  throw new SpiffeError(
    'FAILED_PRECONDITION',
    `key file ${keyFile} holds roots of other domains than ${trustDomain}`,
  )
}

function renewalOf(roots: readonly Issued[]): number {
  const newest = roots.at(-1)
  return newest === undefined ? 0 : (startOf(newest) + endOf(newest)) / 2
}
