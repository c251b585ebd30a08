import { sign, verify, type KeyObject } from 'node:crypto'
import { SpiffeError } from './errors.ts'

/** What a token says (RFC 7519 §4.1); claims that nobody here reads are dropped. */
export interface Claims {
  readonly sub: string | undefined
  /** Empty when the token has none. */
  readonly aud: readonly string[]
  /** Seconds since the epoch. */
  readonly exp: number | undefined
}

const maxTokenBytes = 16 * 1024
const signatureBytes = 64
const header = encode({ alg: 'ES256', typ: 'JWT' })
const partPattern = /^[A-Za-z0-9_-]+$/

/**
 * Makes a compact JWS, `{"alg":"ES256","typ":"JWT"}`, no `kid`.
 * @throws SpiffeError FAILED_PRECONDITION when the key is not EC P-256: no other makes ES256 signatures.
 */
export function signEs256(
  claims: { readonly sub: string; readonly aud: readonly string[]; readonly exp: number },
  key: KeyObject,
): string {
  if (!isP256(key)) {
    throw new SpiffeError(
      'FAILED_PRECONDITION',
      `key is ${describe(key)}, but ES256 tokens need an EC P-256 key`,
    )
  }
  const body = `${header}.${encode({ aud: claims.aud, exp: claims.exp, sub: claims.sub })}`
  const signature = sign('sha256', Buffer.from(body), { key, dsaEncoding: 'ieee-p1363' })
  return `${body}.${signature.toString('base64url')}`
}

/**
 * Reads a token without believing it. @throws SpiffeError INVALID_ARGUMENT when it is longer than 16 KiB, not a compact JWS,
 * not ES256, or has claims of wrong types.
 */
export function parseToken(token: string): Claims {
  return readClaims(split(token).payload)
}

/**
 * Reads a token that the holder of `key` has signed; neither expiry nor audience is looked at.
 * @throws SpiffeError INVALID_ARGUMENT (malformed, see `parseToken`) or UNAUTHENTICATED (signature, or key is not EC P-256).
 */
export function verifyEs256(token: string, key: KeyObject): Claims {
  const { signed, payload, signature } = split(token)
  const claims = readClaims(payload)
  if (!isP256(key))
    throw new SpiffeError('UNAUTHENTICATED', `key is ${describe(key)}, which signs no ES256 tokens`)
  const genuine = verify('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }, signature)
  if (!genuine) throw new SpiffeError('UNAUTHENTICATED', 'token is not signed by the expected key')
  return claims
}

function split(token: string): { signed: string; payload: string; signature: Buffer } {
  if (token.length > maxTokenBytes)
    throw invalid(`is ${token.length} bytes long, at most ${maxTokenBytes} are allowed`)
  const parts = token.split('.')
  const [head, payload, signature] = parts
  if (parts.length !== 3 || head === undefined || payload === undefined || signature === undefined) {
    throw invalid('is not a compact JWS of three parts')
  }
  checkHeader(decodeObject(head, 'header'))
  const bytes = decode(signature, 'signature')
  if (bytes.length !== signatureBytes)
    throw invalid(`has a signature of ${bytes.length} bytes, not ${signatureBytes}`)
  return { signed: `${head}.${payload}`, payload, signature: bytes }
}

function checkHeader(fields: Readonly<Record<string, unknown>>): void {
  const { alg, typ } = fields as { alg?: unknown; typ?: unknown }
  if (alg !== 'ES256') throw invalid(`has the algorithm ${JSON.stringify(alg)?.slice(0, 32)}, not ES256`)
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE') throw invalid('has a type other than JWT or JOSE')
  if ('crit' in fields) throw invalid('has critical header fields, none of which is understood')
}

function readClaims(payload: string): Claims {
  const { sub, aud, exp } = decodeObject(payload, 'payload') as {
    sub?: unknown
    aud?: unknown
    exp?: unknown
  }
  if (sub !== undefined && typeof sub !== 'string') throw invalid('has a sub that is no text')
  if (exp !== undefined && (typeof exp !== 'number' || !Number.isFinite(exp)))
    throw invalid('has an exp that is no number')
  return { sub, aud: readAudience(aud), exp }
}

function readAudience(aud: unknown): readonly string[] {
  if (aud === undefined) return []
  if (typeof aud === 'string') return [aud]
  if (Array.isArray(aud) && aud.every((one) => typeof one === 'string')) return aud
  throw invalid('has an aud that is neither text nor a list of texts')
}

function decodeObject(part: string, name: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(decode(part, name)))
  } catch (err) {
    if (err instanceof SpiffeError) throw err
    throw new SpiffeError('INVALID_ARGUMENT', `token has a ${name} that is not JSON`, { cause: err })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`has a ${name} that is no object`)
  return value as Readonly<Record<string, unknown>>
}

/** Strict base64url: no padding, no second spelling of the same bytes. */
function decode(part: string, name: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  if (!partPattern.test(part) || bytes.toString('base64url') !== part)
    throw invalid(`has a ${name} that is not base64url`)
  return bytes
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1'
}

function describe(key: KeyObject): string {
  const curve = key.asymmetricKeyDetails?.namedCurve
  return curve === undefined ? (key.asymmetricKeyType ?? key.type) : `${key.asymmetricKeyType} ${curve}`
}

function invalid(what: string): SpiffeError {
  return new SpiffeError('INVALID_ARGUMENT', `token ${what}`)
}
