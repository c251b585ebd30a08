import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { randomBytes, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import type { CertificatePair } from './certificate.ts'

/** A certificate authority as it is kept: PEM, with its key in PKCS #8. */
export interface AuthorityPair {
  readonly cert: string
  readonly key: string
}

const hourMs = 3_600_000
export const dayMs: number = 24 * hourMs
const caLifeMs = 365 * dayMs
export const leafLifeMs: number = 24 * hourMs
/** Clocks of others may be behind. */
export const skewMs: number = hourMs
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** A new certificate authority that lives a year from `now` (ms) on. */
export async function newAuthority(now: number): Promise<AuthorityPair> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=Network Service Mesh webhook CA',
    notBefore: new Date(now - skewMs),
    notAfter: new Date(now + caLifeMs),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { cert: `${certificate.toString('pem')}\n`, key: await pemOf(keys.privateKey) }
}

/** A serving certificate for the names and addresses, for a day at most; the first becomes the common name. */
export async function newLeaf(
  issuer: AuthorityPair,
  names: readonly [string, ...string[]],
  now: number,
): Promise<CertificatePair> {
  const authority = new x509.X509Certificate(issuer.cert)
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const expires = new Date(Math.min(now + leafLifeMs, authority.notAfter.getTime()))
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0].slice(0, 64)] }],
    issuer: authority.subject,
    notBefore: new Date(now - skewMs),
    notAfter: expires,
    signingKey: await privateKeyOf(issuer.key),
    publicKey: keys.publicKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
    ],
  })
  return { cert: certificate.toString('pem'), key: await pemOf(keys.privateKey), expires }
}

async function privateKeyOf(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = x509.PemConverter.decode(pem)
  if (der === undefined) throw new Error('the authority has no key')
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}

function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}
