import type { X509Certificate } from 'node:crypto'
import { derReader, readOid, readTime, tags, type DerReader } from './der.ts'
import { SpiffeError, reasonOf } from './errors.ts'

/** What of a certificate the rules of SPIFFE and RFC 5280 look at, and node:crypto does not tell. */
export interface CertificateDetails {
  /** 3 for X.509 v3. */
  readonly version: number
  /** Distinguished names, DER. */
  readonly issuer: Buffer
  readonly subject: Buffer
  /** Ms since the epoch, both inclusive. */
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly signatureAlgorithm: string
  readonly uris: readonly string[]
  readonly isCa: boolean
  readonly pathLength: number | undefined
  /** Absent extension = undefined. */
  readonly keyUsage: KeyUsage | undefined
  /** OIDs; absent extension = undefined. */
  readonly extendedKeyUsages: readonly string[] | undefined
  readonly nameConstraints: NameConstraints | undefined
  /** Critical extensions that nothing here understands, OIDs. */
  readonly unknownCritical: readonly string[]
}

export interface KeyUsage {
  readonly critical: boolean
  readonly digitalSignature: boolean
  readonly keyCertSign: boolean
  readonly cRLSign: boolean
}

/** URI constraints (RFC 5280 §4.2.1.10); `other` = there are constraints on other kinds of names. */
export interface NameConstraints {
  readonly permittedUris: readonly string[]
  readonly excludedUris: readonly string[]
  readonly other: boolean
}

interface Extension {
  readonly id: string
  readonly critical: boolean
  readonly value: Buffer
}

const maxExtensions = 64
const known = new WeakMap<X509Certificate, CertificateDetails>()

/** Reads a certificate once; later calls are free. @throws SpiffeError INVALID_ARGUMENT when it is malformed. */
export function detailsOf(certificate: X509Certificate): CertificateDetails {
  const cached = known.get(certificate)
  if (cached !== undefined) return cached
  try {
    const details = read(Buffer.from(certificate.raw))
    known.set(certificate, details)
    return details
  } catch (err) {
    throw new SpiffeError('INVALID_ARGUMENT', `certificate: ${reasonOf(err)}`, { cause: err })
  }
}

function read(raw: Buffer): CertificateDetails {
  const outer = derReader(derReader(raw).next(tags.sequence).value)
  const body = derReader(outer.next(tags.sequence).value)
  const algorithm = derReader(outer.next(tags.sequence).value).next(tags.oid)
  const version = body.optional(0xa0)
  body.next(tags.integer)
  body.next(tags.sequence)
  const issuer = body.next(tags.sequence).raw
  const validity = derReader(body.next(tags.sequence).value)
  const subject = body.next(tags.sequence).raw
  body.next(tags.sequence)
  body.optional(0x81)
  body.optional(0x82)
  const extensions = readExtensions(body.optional(0xa3)?.value)
  return {
    version: version === undefined ? 1 : 1 + (derReader(version.value).next(tags.integer).value[0] ?? 0),
    issuer,
    subject,
    notBeforeMs: readTime(validity.next()),
    notAfterMs: readTime(validity.next()),
    signatureAlgorithm: readOid(algorithm.value),
    ...understand(extensions),
  }
}

type FromExtensions = Pick<
  CertificateDetails,
  'uris' | 'isCa' | 'pathLength' | 'keyUsage' | 'extendedKeyUsages' | 'nameConstraints' | 'unknownCritical'
>

function understand(extensions: ReadonlyMap<string, Extension>): FromExtensions {
  const understood = new Set(['2.5.29.19', '2.5.29.15', '2.5.29.37', '2.5.29.17', '2.5.29.30'])
  const constraints = readBasicConstraints(extensions.get('2.5.29.19')?.value)
  const usage = extensions.get('2.5.29.15')
  const extended = extensions.get('2.5.29.37')
  const names = extensions.get('2.5.29.17')
  const nameConstraints = extensions.get('2.5.29.30')
  return {
    uris: names === undefined ? [] : readUris(names.value),
    ...constraints,
    keyUsage: usage && readKeyUsage(usage),
    extendedKeyUsages: extended && readOids(derReader(extended.value).next(tags.sequence).value),
    nameConstraints: nameConstraints && readNameConstraints(nameConstraints.value),
    unknownCritical: [...extensions.values()]
      .filter((e) => e.critical && !understood.has(e.id))
      .map((e) => e.id),
  }
}

function readExtensions(value: Buffer | undefined): Map<string, Extension> {
  const found = new Map<string, Extension>()
  if (value === undefined) return found
  const list = derReader(derReader(value).next(tags.sequence).value)
  while (!list.done) {
    const parts = derReader(list.next(tags.sequence).value)
    const id = readOid(parts.next(tags.oid).value)
    const critical = parts.optional(tags.boolean)?.value[0] === 0xff
    if (found.has(id)) throw new SpiffeError('INVALID_ARGUMENT', `extension ${id} is there twice`)
    if (found.size === maxExtensions)
      throw new SpiffeError('INVALID_ARGUMENT', `more than ${maxExtensions} extensions`)
    found.set(id, { id, critical, value: parts.next(tags.octetString).value })
  }
  return found
}

function readBasicConstraints(value: Buffer | undefined): { isCa: boolean; pathLength: number | undefined } {
  if (value === undefined) return { isCa: false, pathLength: undefined }
  const parts = derReader(derReader(value).next(tags.sequence).value)
  const isCa = parts.optional(tags.boolean)?.value[0] === 0xff
  const length = parts.optional(tags.integer)?.value
  if (length === undefined) return { isCa, pathLength: undefined }
  if (length.length !== 1) throw new SpiffeError('INVALID_ARGUMENT', 'path length is not one byte')
  return { isCa, pathLength: length[0] }
}

function readKeyUsage(extension: Extension): KeyUsage {
  const bits = derReader(extension.value).next(tags.bitString).value[1] ?? 0
  return {
    critical: extension.critical,
    digitalSignature: (bits & 0x80) !== 0,
    keyCertSign: (bits & 0x04) !== 0,
    cRLSign: (bits & 0x02) !== 0,
  }
}

function readOids(value: Buffer): string[] {
  return collect(derReader(value), (list) => readOid(list.next(tags.oid).value))
}

/** GeneralName uniformResourceIdentifier has the context tag 6. */
function readUris(value: Buffer): string[] {
  const names = collect(derReader(derReader(value).next(tags.sequence).value), (list) => list.next())
  return names.filter((name) => name.tag === 0x86).map((name) => name.value.toString('latin1'))
}

function readNameConstraints(value: Buffer): NameConstraints {
  const parts = derReader(derReader(value).next(tags.sequence).value)
  const permitted = subtrees(parts.optional(0xa0)?.value)
  const excluded = subtrees(parts.optional(0xa1)?.value)
  return {
    permittedUris: permitted.uris,
    excludedUris: excluded.uris,
    other: permitted.other || excluded.other,
  }
}

function subtrees(value: Buffer | undefined): { uris: string[]; other: boolean } {
  if (value === undefined) return { uris: [], other: false }
  const bases = collect(derReader(value), (list) => derReader(list.next(tags.sequence).value).next())
  const uris = bases.filter((base) => base.tag === 0x86).map((base) => base.value.toString('latin1'))
  return { uris, other: uris.length < bases.length }
}

function collect<T>(reader: DerReader, readOne: (reader: DerReader) => T): T[] {
  const all: T[] = []
  while (!reader.done) all.push(readOne(reader))
  return all
}
