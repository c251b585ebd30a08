import type { X509Certificate } from 'node:crypto'
import { detailsOf, type CertificateDetails } from './certificate.ts'
import { SpiffeError } from './errors.ts'
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts'

const serverAuth = '1.3.6.1.5.5.7.3.1'
const clientAuth = '1.3.6.1.5.5.7.3.2'
const anyUsage = '2.5.29.37.0'

/**
 * The identity that a leaf certificate claims, when it keeps the rules for leaves (X509-SVID §2, §3, §4).
 * Says nothing about who signed it. @throws SpiffeError UNAUTHENTICATED naming the rule that is broken.
 */
export function leafIdentity(leaf: X509Certificate): SpiffeId {
  const details = readable(leaf)
  if (details.version !== 3) throw refused(`leaf is an X.509 v${details.version} certificate, not v3`)
  const [uri] = details.uris
  if (uri === undefined || details.uris.length !== 1) {
    throw refused(`leaf has ${details.uris.length} URI names, exactly one is allowed`)
  }
  const id = parsed(uri)
  if (id.path === '') throw refused(`leaf names the trust domain ${id.id}, not a workload in it`)
  checkUsages(details)
  return id
}

function checkUsages(details: CertificateDetails): void {
  if (details.isCa) throw refused('leaf is a CA certificate')
  const usage = details.keyUsage
  if (usage === undefined) throw refused('leaf has no key usage')
  if (!usage.critical) throw refused('key usage of the leaf is not critical')
  if (!usage.digitalSignature) throw refused('key usage of the leaf lacks digitalSignature')
  if (usage.keyCertSign) throw refused('key usage of the leaf has keyCertSign')
  if (usage.cRLSign) throw refused('key usage of the leaf has cRLSign')
  const extended = details.extendedKeyUsages
  if (extended === undefined || extended.includes(anyUsage)) return
  if (!extended.includes(serverAuth) || !extended.includes(clientAuth)) {
    throw refused('extended key usage of the leaf lacks serverAuth or clientAuth')
  }
}

/** Details of a certificate that came from outside. @throws SpiffeError UNAUTHENTICATED. */
export function readable(certificate: X509Certificate): CertificateDetails {
  try {
    return detailsOf(certificate)
  } catch (err) {
    throw refused('certificate cannot be read', err)
  }
}

/** The error for a peer that could not prove its identity. */
export function refused(why: string, cause?: unknown): SpiffeError {
  return new SpiffeError('UNAUTHENTICATED', why, cause === undefined ? undefined : { cause })
}

function parsed(uri: string): SpiffeId {
  try {
    return parseSpiffeId(uri)
  } catch (err) {
    throw refused(`URI name of the leaf: ${(err as Error).message}`, err)
  }
}
