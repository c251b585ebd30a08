import type { X509Certificate } from 'node:crypto'
import { SpiffeError } from '../errors.ts'
import { parseSpiffeId, parseTrustDomain } from '../spiffe-id.ts'
import type { X509Svid } from '../svid.ts'
import { makeLeaf, type Issued } from './certificates.ts'
import { endOf, openRoots, startOf, type RootsOptions } from './roots.ts'

export interface CaOptions extends RootsOptions {
  readonly svidLifeMs: number
  /** How long a new root is only in the bundle, so that everybody has it, before it signs. */
  readonly rootSpreadMs: number
}

/** Signs the SVIDs of one trust domain. */
export interface Ca {
  readonly trustDomain: string
  readonly svidLifeMs: number
  /** Every root whose signatures still count. */
  readonly roots: readonly X509Certificate[]
  /** @throws SpiffeError INVALID_ARGUMENT when the ID names no workload of this trust domain. */
  issue(id: string): Promise<X509Svid>
  /** Publishes a new root, which signs after `rootSpreadMs`. */
  rotate(): Promise<void>
  /** Calls when the roots are others; `lost`: what one of them has signed counts no more. The answer stops it. */
  onChange(listener: (lost: boolean) => void): () => void
  close(): void
}

/** Shorter ones would keep everybody busy with renewals. */
const shortestLifeMs = 10_000

/** Opens the CA with the roots that were kept, or new ones; they renew themselves at half their life. */
export async function openCa(options: CaOptions): Promise<Ca> {
  const { clock, svidLifeMs } = options
  const trustDomain = parseTrustDomain(options.trustDomain)
  if (svidLifeMs < shortestLifeMs)
    throw new SpiffeError('INVALID_ARGUMENT', 'svids must live ten seconds or longer')
  if (svidLifeMs * 2 > options.rootLifeMs) {
    throw new SpiffeError('INVALID_ARGUMENT', 'roots must live at least twice as long as the svids they sign')
  }
  const roots = await openRoots({ ...options, trustDomain })

  return {
    trustDomain,
    svidLifeMs,
    get roots() {
      return roots.alive.map(({ certificate }) => certificate)
    },
    async issue(id) {
      const { path, trustDomain: wanted } = parseSpiffeId(id)
      if (wanted !== trustDomain || path === '') {
        throw new SpiffeError('INVALID_ARGUMENT', `${id} is no workload of the trust domain ${trustDomain}`)
      }
      const root = signer(roots.alive, clock.now() - options.rootSpreadMs)
      const lifeMs = Math.min(svidLifeMs, endOf(root) - clock.now())
      const leaf = await makeLeaf(id, root, { nowMs: clock.now(), lifeMs })
      return { id, certificates: [leaf.certificate], privateKey: leaf.key, hint: '' }
    },
    rotate: async () => roots.add(),
    onChange: (listener) => roots.onChange(listener),
    close: () => roots.close(),
  }
}

/** The newest root that has been known since `sinceMs`; else the oldest, which is known longest. */
function signer(roots: readonly Issued[], sinceMs: number): Issued {
  const root = roots.findLast((one) => startOf(one) <= sinceMs) ?? roots[0]
  if (root === undefined) throw new SpiffeError('FAILED_PRECONDITION', 'authority has no root')
  return root
}
