import type { X509Certificate } from 'node:crypto'
import type { CertificateDetails, NameConstraints } from './certificate.ts'
import { leafIdentity, readable, refused } from './leaf.ts'
import type { SpiffeId } from './spiffe-id.ts'
import type { X509Bundles } from './svid.ts'

/** What a peer may send at most, and what is tried at most to find a path. */
const maxChain = 8
const maxSignatures = 32

/** ECDSA and RSA with SHA-2, RSA-PSS, Ed25519. */
const strongSignatures = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.10',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
])

interface Search {
  readonly roots: readonly X509Certificate[]
  readonly intermediates: readonly X509Certificate[]
  readonly nowMs: number
  /** Host part of the leaf's URI, for name constraints. */
  readonly trustDomain: string
  signaturesLeft: number
  /** Why the last candidate did not do. */
  why: string
}

/**
 * Proves the identity behind a chain, leaf first: the rules for leaves (X509-SVID §5), then a path (RFC 5280 §6)
 * to a root of that identity's own trust domain and no other.
 * @throws SpiffeError UNAUTHENTICATED saying what is wrong.
 */
export function verifyChain(
  chain: readonly X509Certificate[],
  bundles: X509Bundles,
  nowMs: number,
): SpiffeId {
  const [leaf, ...intermediates] = chain
  if (leaf === undefined) throw refused('peer showed no certificate')
  if (chain.length > maxChain)
    throw refused(`chain has ${chain.length} certificates, at most ${maxChain} are allowed`)
  const id = leafIdentity(leaf)
  const roots = bundles.get(id.trustDomain)
  if (roots === undefined || roots.length === 0) throw refused(`no bundle for the trust domain of ${id.id}`)
  const search: Search = {
    roots,
    intermediates,
    nowMs,
    trustDomain: id.trustDomain,
    signaturesLeft: maxSignatures,
    why: `no root of ${id.trustDomain} signed it`,
  }
  const leafFault = faultOf(readable(leaf), search)
  if (leafFault !== undefined) throw refused(`leaf of ${id.id} ${leafFault}`)
  if (!leadsToRoot(leaf, [], search))
    throw refused(`no path from ${id.id} to its trust domain: ${search.why}`)
  return id
}

/** Depth first; `below` are the intermediates between `certificate` and the leaf, itself included. */
function leadsToRoot(
  certificate: X509Certificate,
  below: readonly X509Certificate[],
  search: Search,
): boolean {
  if (search.roots.some((root) => isIssuer(root, certificate, below, search))) return true
  return search.intermediates.some(
    (next) =>
      !below.includes(next) &&
      isIssuer(next, certificate, below, search) &&
      leadsToRoot(next, [...below, next], search),
  )
}

function isIssuer(
  issuer: X509Certificate,
  certificate: X509Certificate,
  below: readonly X509Certificate[],
  search: Search,
): boolean {
  const details = readable(issuer)
  if (!details.subject.equals(readable(certificate).issuer)) return false
  const fault = faultOf(details, search) ?? faultOfIssuer(details, below.length, search)
  if (fault !== undefined) {
    search.why = `an issuer ${fault}`
    return false
  }
  if (search.signaturesLeft-- <= 0) {
    search.why = `more than ${maxSignatures} signatures to try`
    return false
  }
  if (isSignedBy(certificate, issuer)) return true
  search.why = 'a signature is not that of the issuer it names'
  return false
}

/** False also for keys that node:crypto cannot read. */
function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.verify(issuer.publicKey)
  } catch {
    return false
  }
}

/** What no certificate of a path may have. */
function faultOf(details: CertificateDetails, search: Search): string | undefined {
  if (search.nowMs < details.notBeforeMs) return 'is not valid yet'
  if (search.nowMs > details.notAfterMs) return 'has expired'
  const [unknown] = details.unknownCritical
  if (unknown !== undefined) return `has the critical extension ${unknown}, which is not understood`
  if (!strongSignatures.has(details.signatureAlgorithm))
    return `is signed by the weak ${details.signatureAlgorithm}`
  return undefined
}

function faultOfIssuer(details: CertificateDetails, below: number, search: Search): string | undefined {
  if (!details.isCa) return 'is not a CA'
  if (details.keyUsage?.keyCertSign !== true) return 'lacks the key usage keyCertSign'
  if (details.pathLength !== undefined && below > details.pathLength) return 'allows no path of this length'
  const { nameConstraints } = details
  if (nameConstraints !== undefined && !permits(nameConstraints, search.trustDomain)) {
    return `has name constraints that do not let ${search.trustDomain} pass`
  }
  return undefined
}

/** RFC 5280 §4.2.1.10 for URIs: a host, or a leading dot and everything below. Constraints on other names are refused. */
function permits(constraints: NameConstraints, host: string): boolean {
  const matches = (constraint: string): boolean =>
    constraint.startsWith('.') ? host.endsWith(constraint) : host === constraint
  if (constraints.other || constraints.excludedUris.some(matches)) return false
  return constraints.permittedUris.length === 0 || constraints.permittedUris.some(matches)
}
