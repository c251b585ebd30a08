import type { Logger } from '@nsm/sdk/log.js'
import { watchFiles } from '@nsm/sdk/watched-file.js'
import { X509Certificate, createPrivateKey } from 'node:crypto'
import type { CertificatePair, ServingCertificate } from './certificate.ts'

/** One is written after the other: wait for the second. */
const settleMs = 50

/** A serving certificate from two PEM files, taken over again when they change; a pair that does not fit is not. */
export async function fileCertificate(
  certPath: string,
  keyPath: string,
  log: Logger,
): Promise<ServingCertificate> {
  const listeners = new Set<(pair: CertificatePair) => void>()
  let current: CertificatePair | undefined
  const take = ([cert, key]: readonly [string, string]): void => {
    const pair = checkedPair(cert, key)
    current = pair
    log.info({ expires: pair.expires.toISOString() }, 'serving certificate read')
    for (const listener of listeners) listener(pair)
  }
  const watched = await watchFiles([certPath, keyPath], take, { log, settleMs })
  return {
    get current() {
      if (current === undefined) throw new Error('no certificate was read')
      return current
    },
    onChange: (listener) => void listeners.add(listener),
    close: () => watched.close(),
  }
}

function checkedPair(cert: string, key: string): CertificatePair {
  const certificate = new X509Certificate(cert)
  if (!certificate.checkPrivateKey(createPrivateKey(key))) {
    throw new Error('the private key does not belong to the certificate')
  }
  return { cert, key, expires: new Date(certificate.validTo) }
}
