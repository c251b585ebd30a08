import {
  createHash,
  createPublicKey,
  generateKeyPair,
  randomBytes,
  sign,
  X509Certificate,
  type KeyObject,
} from 'node:crypto'
import { promisify } from 'node:util'

/** Key usages by their bit (RFC 5280 §4.2.1.3). */
export const usageBits = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const
export type Usage = keyof typeof usageBits

/** What a test certificate says; everything can be wrong on purpose. */
export interface CertificateTemplate {
  readonly subject: string
  readonly issuer: string
  /** Of the subject; a private key will do. */
  readonly key: KeyObject
  readonly signingKey: KeyObject
  readonly notBefore: Date
  readonly notAfter: Date
  readonly uris: readonly string[]
  readonly dnsNames: readonly string[]
  readonly ca: boolean
  /** Absent = no such extension. */
  readonly usages?: readonly Usage[]
  readonly usagesCritical: boolean
  /** Extended key usages as OIDs; empty = no such extension. */
  readonly extendedUsages: readonly string[]
  readonly pathLength?: number
  /** More extensions, made by `extension`. */
  readonly extensions: readonly Buffer[]
}

/** Makes and signs a certificate, at once: a few TLVs by hand, since every generator on npm is asynchronous. */
export function makeCertificate(template: CertificateTemplate): X509Certificate {
  const algorithm = signatureAlgorithm(template.signingKey)
  const publicKey = template.key.type === 'private' ? createPublicKey(template.key) : template.key
  const body = sequence(
    tlv(0xa0, integer(Buffer.of(2))),
    integer(Buffer.concat([Buffer.of(0x40), randomBytes(15)])),
    algorithm,
    commonName(template.issuer),
    sequence(time(template.notBefore), time(template.notAfter)),
    commonName(template.subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...extensionsOf(template, publicKey))),
  )
  const signature = sign('sha256', body, template.signingKey)
  return new X509Certificate(sequence(body, algorithm, tlv(0x03, Buffer.of(0), signature)))
}

/** A self-signed server's key and certificate for an hour, PEM: for tests that need TLS and no identity. */
export async function keyAndCertificate(): Promise<{ key: string; cert: string }> {
  const { privateKey: key } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
  const now = Date.now()
  const certificate = makeCertificate({
    subject: 'localhost',
    issuer: 'localhost',
    key,
    signingKey: key,
    notBefore: new Date(now - 60_000),
    notAfter: new Date(now + 3_600_000),
    uris: [],
    dnsNames: ['localhost'],
    ca: false,
    usages: ['digitalSignature'],
    usagesCritical: true,
    extendedUsages: [],
    extensions: [],
  })
  return { key: key.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificate.toString() }
}

/** One X.509 extension. */
export function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [tlv(0x01, Buffer.of(0xff))] : []), tlv(0x04, value))
}

function extensionsOf(template: CertificateTemplate, publicKey: KeyObject): Buffer[] {
  const found: Buffer[] = []
  const length = template.pathLength === undefined ? [] : [integer(Buffer.of(template.pathLength))]
  const constraints = template.ca ? sequence(tlv(0x01, Buffer.of(0xff)), ...length) : sequence()
  found.push(extension('2.5.29.19', true, constraints))
  if (template.usages !== undefined) {
    found.push(extension('2.5.29.15', template.usagesCritical, bitString(template.usages)))
  }
  if (template.extendedUsages.length > 0) {
    found.push(extension('2.5.29.37', false, sequence(...template.extendedUsages.map(oid))))
  }
  const names = [
    ...template.uris.map((uri) => tlv(0x86, Buffer.from(uri))),
    ...template.dnsNames.map((name) => tlv(0x82, Buffer.from(name))),
  ]
  if (names.length > 0) found.push(extension('2.5.29.17', false, sequence(...names)))
  const keyId = createHash('sha1')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
  found.push(extension('2.5.29.14', false, tlv(0x04, keyId)))
  return [...found, ...template.extensions]
}

function signatureAlgorithm(key: KeyObject): Buffer {
  if (key.asymmetricKeyType === 'rsa') return sequence(oid('1.2.840.113549.1.1.11'), tlv(0x05))
  return sequence(oid('1.2.840.10045.4.3.2'))
}

function commonName(text: string): Buffer {
  return sequence(tlv(0x31, sequence(oid('2.5.4.3'), tlv(0x0c, Buffer.from(text)))))
}

function bitString(usages: readonly Usage[]): Buffer {
  const bits = usages.reduce((sum, usage) => sum | (0x80 >> usageBits[usage]), 0)
  return tlv(0x03, Buffer.of(0, bits))
}

/** GeneralizedTime from 2050 on, UTCTime before (RFC 5280 §4.1.2.5). */
function time(date: Date): Buffer {
  const digits = `${date.toISOString().replace(/\D/g, '').slice(0, 14)}Z`
  return date.getUTCFullYear() < 2050
    ? tlv(0x17, Buffer.from(digits.slice(2)))
    : tlv(0x18, Buffer.from(digits))
}

function integer(bytes: Buffer): Buffer {
  return tlv(0x02, bytes)
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = rest.flatMap((part) => {
    const digits = [part & 0x7f]
    for (let left = part >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80)
    return digits
  })
  return tlv(0x06, Buffer.of(first * 40 + second, ...bytes))
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, ...parts)
}

function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts)
  if (value.length < 0x80) return Buffer.concat([Buffer.of(tag, value.length), value])
  if (value.length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, value.length), value])
  return Buffer.concat([Buffer.of(tag, 0x82, value.length >> 8, value.length & 0xff), value])
}
