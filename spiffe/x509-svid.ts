import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { splitDer } from './der.ts'
import { reasonOf, SpiffeError } from './errors.ts'
import { leafIdentity } from './leaf.ts'
import type { X509Svid } from './svid.ts'

/** Fields of one SVID as the Workload API sends them. */
export interface SvidFields {
  /** What the server calls it; must be what the leaf says. */
  readonly id: string
  /** DER certificates one after another, leaf first. */
  readonly chain: Uint8Array
  /** PKCS#8, DER, not encrypted. */
  readonly key: Uint8Array
  readonly hint: string
}

const maxChainCertificates = 8
const maxBundleCertificates = 256

/** Reads an SVID and checks that its parts belong together. @throws SpiffeError INVALID_ARGUMENT naming the part. */
export function parseX509Svid(fields: SvidFields): X509Svid {
  const [leaf, ...rest] = parseCertificates(fields.chain, 'x509_svid', maxChainCertificates)
  if (leaf === undefined) throw invalid('x509_svid is empty')
  const { id } = identity(leaf)
  if (fields.id !== id) throw invalid(`spiffe_id is ${JSON.stringify(fields.id)}, but the leaf says ${id}`)
  const privateKey = parseKey(fields.key)
  if (!leaf.checkPrivateKey(privateKey)) throw invalid(`x509_svid_key is not the key of the leaf of ${id}`)
  return { id, certificates: [leaf, ...rest], privateKey, hint: fields.hint }
}

/** Reads a bundle: DER certificates one after another, possibly none. @throws SpiffeError INVALID_ARGUMENT. */
export function parseBundle(bytes: Uint8Array, field: string): readonly X509Certificate[] {
  return parseCertificates(bytes, field, maxBundleCertificates)
}

/** An SVID's chain as the Workload API and TLS want it: DER, leaf first. */
export function chainDer(certificates: readonly X509Certificate[]): Buffer {
  return Buffer.concat(certificates.map((certificate) => certificate.raw))
}

function parseCertificates(bytes: Uint8Array, field: string, max: number): X509Certificate[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  try {
    return splitDer(buffer, max).map((der) => new X509Certificate(der))
  } catch (err) {
    throw invalid(`${field} holds no DER certificates: ${reasonOf(err)}`, err)
  }
}

function parseKey(bytes: Uint8Array): KeyObject {
  if (bytes.length === 0) throw invalid('x509_svid_key is empty')
  try {
    return createPrivateKey({ key: Buffer.from(bytes), format: 'der', type: 'pkcs8' })
  } catch (err) {
    throw invalid('x509_svid_key is not an unencrypted PKCS#8 key', err)
  }
}

function identity(leaf: X509Certificate): { readonly id: string } {
  try {
    return leafIdentity(leaf)
  } catch (err) {
    throw invalid(`x509_svid: ${reasonOf(err)}`, err)
  }
}

function invalid(message: string, cause?: unknown): SpiffeError {
  return new SpiffeError('INVALID_ARGUMENT', message, cause === undefined ? undefined : { cause })
}
