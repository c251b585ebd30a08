import { createPrivateKey, X509Certificate } from 'node:crypto'
import { reasonOf, SpiffeError } from '../errors.ts'
import type { Issued } from './certificates.ts'

const block = /-----BEGIN (CERTIFICATE|PRIVATE KEY)-----[^-]+-----END \1-----/g

/** Roots as text: each certificate, then its key, unencrypted. */
export function rootsToPem(roots: readonly Issued[]): string {
  return roots
    .flatMap(({ certificate, key }) => [certificate.toString(), key.export({ type: 'pkcs8', format: 'pem' })])
    .join('')
}

/** The roots of such a text. @throws SpiffeError FAILED_PRECONDITION that names `where` when it is anything else. */
export function rootsFromPem(text: string, where: string): readonly Issued[] {
  const blocks = text.match(block) ?? []
  const roots: Issued[] = []
  try {
    for (let i = 0; i + 1 < blocks.length; i += 2) {
      roots.push({
        certificate: new X509Certificate(blocks[i] ?? ''),
        key: createPrivateKey(blocks[i + 1] ?? ''),
      })
    }
  } catch (err) {
    throw new SpiffeError('FAILED_PRECONDITION', `${where}: ${reasonOf(err)}`, { cause: err })
  }
  const whole =
    blocks.length % 2 === 0 && roots.every(({ certificate, key }) => certificate.checkPrivateKey(key))
  if (roots.length === 0 || !whole)
    throw new SpiffeError(
      'FAILED_PRECONDITION',
      `${where}: does not hold pairs of a certificate and its private key`,
    )
  return roots
}
