import { parseSpiffeId, parseTrustDomain, type SpiffeId } from './spiffe-id.ts'

/** Decides whether a peer whose identity is proven may go on; asked after verification, never instead of it. */
export type Authorise = (id: SpiffeId) => boolean

/** Lets every proven identity in. */
export const anyId: Authorise = () => true

/** Lets exactly these IDs in. @throws SpiffeError INVALID_ARGUMENT when one of them is no SPIFFE ID. */
export function oneOf(...ids: readonly string[]): Authorise {
  const allowed = new Set(ids.map((id) => parseSpiffeId(id).id))
  return ({ id }) => allowed.has(id)
}

/** Lets every workload of a trust domain in. @throws SpiffeError INVALID_ARGUMENT when the name is none. */
export function memberOf(trustDomain: string): Authorise {
  const wanted = parseTrustDomain(trustDomain)
  return (id) => id.trustDomain === wanted
}
