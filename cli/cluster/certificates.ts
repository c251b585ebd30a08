import { X509Certificate } from 'node:crypto'
import { textsAt } from './fields.ts'
import type { Item } from './cluster.ts'

const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** Certificates in a text, which may be JSON with PEM inside; what can't be read as one is left out. */
export function certificatesIn(text: string): readonly X509Certificate[] {
  return [...text.replaceAll(String.raw`\n`, '\n').matchAll(block)].flatMap(([pem]) => {
    try {
      return [new X509Certificate(pem)]
    } catch {
      return []
    }
  })
}

/** The different CA certificates in a Secret, whatever the keys are called. */
export function authoritiesIn(secret: Item): readonly X509Certificate[] {
  const found = Object.values(textsAt(secret, 'data'))
    .flatMap((data) => certificatesIn(Buffer.from(data, 'base64').toString('latin1')))
    .filter((certificate) => certificate.ca)
  return [...new Map(found.map((one) => [one.fingerprint256, one])).values()]
}

/** When it expires, in milliseconds since 1970. */
export function expiryMs(certificate: X509Certificate): number {
  return Date.parse(certificate.validTo)
}
