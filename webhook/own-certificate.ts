import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { randomBytes, webcrypto } from 'node:crypto'
import { rename, unlink, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import type { CertificatePair, ServingCertificate } from './certificate.ts'

/** How a certificate is made in process. */
export interface OwnCertificateOptions {
  /** DNS names and addresses that clients call the server by; the first becomes the common name. */
  readonly names: readonly [string, ...string[]]
  /** Where the CA bundle is written, PEM; absent = nowhere. */
  readonly caBundlePath?: string
  readonly log: Logger
  readonly clock?: Clock
}

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const caLifeMs = 365 * dayMs
const leafLifeMs = dayMs
/** Clocks of others may be behind. */
const skewMs = hourMs
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

interface Authority {
  readonly certificate: x509.X509Certificate
  readonly keys: webcrypto.CryptoKeyPair
}

/**
 * A serving certificate from a CA of this process' own. The certificate lives a day and is replaced at two thirds of that;
 * the CA lives a year and is replaced a month before its end: for that month the bundle holds both.
 */
export async function ownCertificate(options: OwnCertificateOptions): Promise<ServingCertificate> {
  const clock = options.clock ?? systemClock
  const listeners = new Set<(pair: CertificatePair) => void>()
  let authorities: readonly Authority[] = []
  let isClosed = false
  let disarm = (): void => undefined

  const renew = async (): Promise<CertificatePair> => {
    const now = clock.now()
    const kept = authorities.filter(({ certificate }) => certificate.notAfter.getTime() > now + leafLifeMs)
    const [newest] = kept
    const isFresh = newest !== undefined && newest.certificate.notAfter.getTime() > now + 30 * dayMs
    authorities = isFresh ? kept : [await makeAuthority(now), ...kept]
    const bundle = authorities.map(({ certificate }) => certificate.toString('pem')).join('\n')
    if (options.caBundlePath !== undefined) await writeBundle(options.caBundlePath, `${bundle}\n`)
    const [issuer] = authorities
    if (issuer === undefined) throw new NsmError('INTERNAL', 'no certificate authority')
    return makeLeaf(issuer, options.names, now)
  }
  const arm = (ms: number): void => {
    disarm = clock.after(ms, () => void renewed().catch(failed))
  }
  const failed = (err: unknown): void => {
    options.log.error({ err: String(err) }, 'serving certificate not renewed, trying again in a minute')
    if (!isClosed) arm(60_000)
  }
  const renewed = async (): Promise<void> => {
    const pair = await renew()
    if (isClosed) return
    current = pair
    options.log.info({ expires: pair.expires.toISOString() }, 'serving certificate renewed')
    for (const listener of listeners) listener(pair)
    arm((leafLifeMs * 2) / 3)
  }

  let current = await renew()
  arm((leafLifeMs * 2) / 3)
  return {
    get current() {
      return current
    },
    onChange: (listener) => void listeners.add(listener),
    close: () => {
      isClosed = true
      disarm()
    },
  }
}

async function makeAuthority(now: number): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])
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
  return { certificate, keys }
}

async function makeLeaf(
  issuer: Authority,
  names: readonly [string, ...string[]],
  now: number,
): Promise<CertificatePair> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const expires = new Date(now + leafLifeMs)
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0].slice(0, 64)] }],
    issuer: issuer.certificate.subject,
    notBefore: new Date(now - skewMs),
    notAfter: expires,
    signingKey: issuer.keys.privateKey,
    publicKey: keys.publicKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
    ],
  })
  const key = x509.PemConverter.encode(
    await webcrypto.subtle.exportKey('pkcs8', keys.privateKey),
    'PRIVATE KEY',
  )
  return { cert: certificate.toString('pem'), key, expires }
}

function serialNumber(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}

/** Readers never see half a file. */
async function writeBundle(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    await writeFile(temporary, text, { mode: 0o644 })
    await rename(temporary, path)
  } catch (err) {
    await unlink(temporary).catch(() => undefined)
    throw new NsmError('UNAVAILABLE', `cannot write the CA bundle ${path}: ${String(err)}`, { cause: err })
  }
}
