import type { KeyObject } from 'node:crypto'
import { verifyEs256 } from '@nsm/spiffe/es256.js'
import type { ReadToken } from './policy.ts'

/** Whether the holder of the key signed the token; no token at all is not signed. */
export function signedBy(token: ReadToken | undefined, key: KeyObject): boolean {
  if (token?.claims === undefined) return false
  try {
    verifyEs256(token.text, key)
    return true
  } catch {
    return false
  }
}
