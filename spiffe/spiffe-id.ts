import { SpiffeError } from './errors.ts'

/** A SPIFFE ID in its parts (SPIFFE-ID §2). */
export interface SpiffeId {
  /** The whole, as `spiffe://example.org/ns/a`. */
  readonly id: string
  /** Without scheme, as `example.org`. */
  readonly trustDomain: string
  /** Empty for a trust domain's own ID, else with a leading slash. */
  readonly path: string
}

const scheme = 'spiffe://'
const maxIdBytes = 2048
const maxTrustDomainBytes = 255
const trustDomainPattern = /^[a-z0-9._-]+$/
const segmentPattern = /^[a-zA-Z0-9._-]+$/

/** Takes a SPIFFE ID apart. @throws SpiffeError INVALID_ARGUMENT naming the rule that is broken. */
export function parseSpiffeId(text: string): SpiffeId {
  if (text === '') throw invalid('spiffe id is empty')
  if (text.length > maxIdBytes)
    throw invalid(`spiffe id is ${text.length} bytes long, at most ${maxIdBytes} are allowed`)
  if (!text.startsWith(scheme)) throw invalid(`spiffe id ${quote(text)} does not start with ${scheme}`)
  const slash = text.indexOf('/', scheme.length)
  const end = slash === -1 ? text.length : slash
  const trustDomain = text.slice(scheme.length, end)
  const path = text.slice(end)
  checkTrustDomain(trustDomain)
  checkPath(path)
  return { id: text, trustDomain, path }
}

/** Puts an ID together; `path` is empty or begins with a slash. @throws SpiffeError INVALID_ARGUMENT. */
export function formatSpiffeId(trustDomain: string, path: string): string {
  checkTrustDomain(trustDomain)
  if (path !== '' && !path.startsWith('/')) throw invalid(`path ${quote(path)} does not begin with a slash`)
  return parseSpiffeId(`${scheme}${trustDomain}${path}`).id
}

/** The trust domain named by `example.org` or by any SPIFFE ID in it. @throws SpiffeError INVALID_ARGUMENT. */
export function parseTrustDomain(text: string): string {
  if (text.startsWith(scheme)) return parseSpiffeId(text).trustDomain
  checkTrustDomain(text)
  return text
}

function checkTrustDomain(name: string): void {
  if (name === '') throw invalid('trust domain is missing')
  if (!trustDomainPattern.test(name)) {
    throw invalid(
      `trust domain ${quote(name)} may hold only lower-case letters, digits, dots, dashes and underscores`,
    )
  }
  if (name.length > maxTrustDomainBytes) {
    throw invalid(`trust domain is ${name.length} bytes long, at most ${maxTrustDomainBytes} are allowed`)
  }
}

function checkPath(path: string): void {
  if (path === '') return
  if (path.endsWith('/')) throw invalid(`path ${quote(path)} ends with a slash`)
  for (const segment of path.slice(1).split('/')) {
    if (segment === '') throw invalid(`path ${quote(path)} has an empty segment`)
    if (segment === '.' || segment === '..') throw invalid(`path ${quote(path)} has a dot segment`)
    if (!segmentPattern.test(segment)) {
      throw invalid(
        `path ${quote(path)} may hold only letters, digits, dots, dashes and underscores between slashes`,
      )
    }
  }
}

/** Bounded and escaped: what is refused may be hostile. */
function quote(text: string): string {
  return JSON.stringify(text.length > 128 ? `${text.slice(0, 128)}…` : text)
}

function invalid(message: string): SpiffeError {
  return new SpiffeError('INVALID_ARGUMENT', message)
}
