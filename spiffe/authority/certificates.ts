import 'reflect-metadata'
import { KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PublicKey,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type Extension,
} from '@peculiar/x509'

/** A certificate and the key that it is about. */
export interface Issued {
  readonly certificate: X509Certificate
  readonly key: KeyObject
}

/** NotBefore lies this far back: the clocks of a cluster agree within a minute. */
export const skewMs = 60_000

interface Life {
  readonly nowMs: number
  readonly lifeMs: number
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const subject = 'O=SPIFFE'

/** A self-signed root of a trust domain, EC P-256 (X509-SVID §4 for signing certificates). */
export async function makeRoot(trustDomain: string, nowMs: number, lifeMs: number): Promise<Issued> {
  const { privateKey, publicKey } = await newKeys()
  const name = `${subject}, CN=${randomBytes(8).toString('hex')}`
  const extensions = [
    new BasicConstraintsExtension(true, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
    await SubjectKeyIdentifierExtension.create(publicKey),
  ]
  const names = { subject: name, issuer: name }
  const life = { nowMs, lifeMs }
  const certificate = await generate({ ...names, life, publicKey, signingKey: privateKey, extensions })
  return { certificate, key: KeyObject.from(privateKey) }
}

/** A leaf for `id` under `root`, with a fresh EC P-256 key (X509-SVID §2, §4 for leaves). */
export async function makeLeaf(id: string, root: Issued, life: Life): Promise<Issued> {
  const { privateKey, publicKey } = await newKeys()
  const rootKey = new PublicKey(root.certificate.publicKey.export({ type: 'spki', format: 'der' }))
  const extensions = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
    new SubjectAlternativeNameExtension([{ type: 'url', value: id }]),
    await SubjectKeyIdentifierExtension.create(publicKey),
    await AuthorityKeyIdentifierExtension.create(rootKey),
  ]
  const signingKey = await importKey(root.key)
  const issuer = root.certificate.subject.split('\n').join(', ')
  const certificate = await generate({ subject, issuer, life, publicKey, signingKey, extensions })
  return { certificate, key: KeyObject.from(privateKey) }
}

interface Wanted {
  readonly subject: string
  readonly issuer: string
  readonly life: Life
  readonly publicKey: webcrypto.CryptoKey
  readonly signingKey: webcrypto.CryptoKey
  readonly extensions: Extension[]
}

async function generate({ life, ...wanted }: Wanted): Promise<X509Certificate> {
  const made = await X509CertificateGenerator.create({
    ...wanted,
    serialNumber: serialNumber(),
    notBefore: new Date(life.nowMs - skewMs),
    notAfter: new Date(life.nowMs + life.lifeMs),
    signingAlgorithm: algorithm,
  })
  return new X509Certificate(Buffer.from(made.rawData))
}

/** 127 random bits, positive and never with a leading zero byte (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}

async function importKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), algorithm, false, [
    'sign',
  ])
}
