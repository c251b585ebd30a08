import type { Policy } from './policy.ts'

export interface Ownership {
  /** `path_ids[0]` of the registration that has the name already; undefined when the name is new. */
  readonly owner: string | undefined
  /** `sub` of the first token of the caller's path. */
  readonly claimant: string | undefined
}

/** A registered name is its owner's (§3.6 registry/client_allowed). */
export const clientAllowed: Policy<Ownership> = ({ owner, claimant }) =>
  owner === undefined || owner === claimant ? undefined : `the name belongs to ${owner}`
