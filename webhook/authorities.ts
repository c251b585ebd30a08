import { X509Certificate, createPrivateKey } from 'node:crypto'
import { dayMs, newAuthority, skewMs, type AuthorityPair } from './issuing.ts'

/** Named values that replicas share; `KeptSecret` is one. */
export interface AuthorityStore {
  read(): Readonly<Record<string, Buffer>>
  /** `change` answers new data, or undefined to leave it; it is called again when somebody was faster. */
  update(
    change: (data: Readonly<Record<string, Buffer>>) => Promise<Readonly<Record<string, Buffer>> | undefined>,
  ): Promise<void>
  onChange(listener: () => void): () => void
  close(): void
}

/** A certificate authority out of the store. */
export interface Authority extends AuthorityPair {
  readonly id: string
  readonly created: number
  readonly expires: number
}

/** A new authority is made so long before the newest ends. */
const aheadMs = 30 * dayMs
/** A new authority signs so long after it was made: API servers know it by then. */
const leadMs = 3_600_000

/** A store for one process alone. */
export function memoryStore(): AuthorityStore {
  let data: Readonly<Record<string, Buffer>> = {}
  return {
    read: () => data,
    update: async (change) => {
      data = (await change(data)) ?? data
    },
    onChange: () => () => undefined,
    close: () => undefined,
  }
}

/** The authorities in the data, newest first; what is none is passed over. Says the same at any time, so that replicas agree. */
export function authoritiesIn(data: Readonly<Record<string, Buffer>>): readonly Authority[] {
  return Object.keys(data)
    .flatMap((name) => {
      const id = /^(.+)\.crt$/.exec(name)?.[1]
      const authority = id === undefined ? undefined : authorityOf(id, data)
      return authority === undefined ? [] : [authority]
    })
    .sort((a, b) => b.created - a.created || (a.id < b.id ? -1 : 1))
}

function authorityOf(id: string, data: Readonly<Record<string, Buffer>>): Authority | undefined {
  const cert = data[`${id}.crt`]?.toString() ?? ''
  const key = data[`${id}.key`]?.toString() ?? ''
  try {
    const certificate = new X509Certificate(cert)
    if (!certificate.ca || !certificate.checkPrivateKey(createPrivateKey(key))) return undefined
    const created = Date.parse(certificate.validFrom) + skewMs
    // Written anew: what stands beside the certificate does not get into the bundle.
    return { id, cert: certificate.toString(), key, created, expires: Date.parse(certificate.validTo) }
  } catch {
    return undefined
  }
}

/**
 * The data with a new authority when none has a month left; undefined = nothing to do. What has ended, and what is no authority, is
 * left out on that occasion only: replicas whose clocks disagree would otherwise take turns.
 */
export async function withFreshAuthority(
  data: Readonly<Record<string, Buffer>>,
  now: number,
): Promise<Readonly<Record<string, Buffer>> | undefined> {
  const known = authoritiesIn(data)
  if (known.some(({ created, expires }) => created - skewMs <= now && expires > now + aheadMs))
    return undefined
  const made = await newAuthority(now)
  const madeId = `ca-${new X509Certificate(made.cert).fingerprint256.replaceAll(':', '').slice(0, 16).toLowerCase()}`
  const kept = known.filter(({ expires }) => expires > now)
  return Object.fromEntries(
    [...kept, { ...made, id: madeId }].flatMap(({ id, cert, key }) => [
      [`${id}.crt`, Buffer.from(cert)],
      [`${id}.key`, Buffer.from(key)],
    ]),
  )
}

/** What clients must trust, PEM, newest first. */
export function bundleOf(authorities: readonly Authority[]): string {
  return authorities.map(({ cert }) => cert).join('')
}

/**
 * Who signs: the newest that clients trust for long enough; when there is none, the oldest that is trusted, else the newest at all.
 * `trusted` has the ids of those that were published.
 */
export function issuerAmong(
  authorities: readonly Authority[],
  trusted: ReadonlySet<string>,
  now: number,
): Authority | undefined {
  const valid = authorities.filter(({ created, expires }) => created - skewMs <= now && expires > now)
  const published = valid.filter(({ id }) => trusted.has(id))
  return published.find(({ created }) => created + leadMs <= now) ?? published.at(-1) ?? valid[0]
}
