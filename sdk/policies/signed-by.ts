import type { KeyObject, X509Certificate } from 'node:crypto'
import { verifyEs256 } from '@nsm/spiffe/es256.js'
import type { ReadToken } from './policy.ts'

/** A session's other end shows the same token for a while. */
const maxKept = 8

/** A certificate's key, and what is known to be signed by it. */
const keys = new WeakMap<X509Certificate, KeyObject>()
const genuine = new WeakMap<KeyObject, Set<string>>()

/** The same object for the same certificate, so that `signedBy` knows it again. */
export function publicKeyOf(certificate: X509Certificate): KeyObject {
  const known = keys.get(certificate)
  if (known !== undefined) return known
  const made = certificate.publicKey
  keys.set(certificate, made)
  return made
}

/** Whether the holder of the key signed the token; no token at all is not signed. */
export function signedBy(token: ReadToken | undefined, key: KeyObject): boolean {
  if (token?.claims === undefined) return false
  const known = genuine.get(key) ?? new Set()
  if (known.has(token.text)) return true
  try {
    verifyEs256(token.text, key)
  } catch {
    return false
  }
  for (const oldest of known) if (known.size >= maxKept) known.delete(oldest)
  genuine.set(key, known.add(token.text))
  return true
}
