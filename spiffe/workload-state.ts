import { SpiffeError } from './errors.ts'
import type { X509BundlesResponse, X509SVID, X509SVIDResponse } from './gen/workload.ts'
import { parseTrustDomain } from './spiffe-id.ts'
import type { X509Bundles, X509State, X509Svid } from './svid.ts'
import { parseBundle, parseX509Svid } from './x509-svid.ts'

/**
 * The state that one message stands for, whole: what it does not name is gone. Of several SVIDs with one hint the first
 * counts (Workload API §5.2). Revocation lists are ignored: SVIDs are short-lived instead.
 * @param hint when given, the SVID with this hint becomes the default one.
 * @throws SpiffeError INVALID_ARGUMENT when a mandatory field is empty or malformed; the message must then be discarded whole.
 */
export function stateOfMessage(message: X509SVIDResponse, hint?: string): X509State {
  const [first, ...rest] = inOrder(withoutDuplicateHints(message.svids).map(parseSvid), hint)
  if (first === undefined) {
    throw new SpiffeError(
      'INVALID_ARGUMENT',
      hint === undefined ? 'message has no svids' : `no svid with the hint ${hint}`,
    )
  }
  const own = message.svids.map(
    (svid) => [parseTrustDomain(svid.spiffeId), mandatory(svid.bundle, 'bundle')] as const,
  )
  const federated = Object.entries(message.federatedBundles)
  return { svids: [first, ...rest], bundles: parseBundles([...federated, ...own]) }
}

/** The bundles of one message of FetchX509Bundles. @throws SpiffeError INVALID_ARGUMENT, see `stateOfMessage`. */
export function bundlesOfMessage(message: X509BundlesResponse): X509Bundles {
  const entries = Object.entries(message.bundles)
  if (entries.length === 0) throw new SpiffeError('INVALID_ARGUMENT', 'message has no bundles')
  return parseBundles(entries)
}

/** Later entries win: a trust domain's own bundle over what a federation says of it. */
function parseBundles(entries: readonly (readonly [string, Uint8Array])[]): X509Bundles {
  return new Map(
    entries.map(([name, der]) => [parseTrustDomain(name), parseBundle(der, `bundle of ${name}`)]),
  )
}

function parseSvid(svid: X509SVID): X509Svid {
  return parseX509Svid({
    id: svid.spiffeId,
    chain: mandatory(svid.x509Svid, 'x509_svid'),
    key: mandatory(svid.x509SvidKey, 'x509_svid_key'),
    hint: svid.hint,
  })
}

function withoutDuplicateHints(svids: readonly X509SVID[]): readonly X509SVID[] {
  return svids.filter(({ hint }, i) => hint === '' || svids.findIndex((other) => other.hint === hint) === i)
}

function inOrder(svids: readonly X509Svid[], hint: string | undefined): readonly X509Svid[] {
  if (hint === undefined) return svids
  const wanted = svids.filter((svid) => svid.hint === hint)
  return wanted.length === 0 ? [] : [...wanted, ...svids.filter((svid) => svid.hint !== hint)]
}

function mandatory(bytes: Uint8Array, field: string): Uint8Array {
  if (bytes.length === 0) throw new SpiffeError('INVALID_ARGUMENT', `${field} is empty`)
  return bytes
}
