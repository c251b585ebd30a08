/** What resolves the pod's names. */
export type DnsMode = 'off' | 'embedded' | 'coredns'

/**
 * `idle`: no service brings names, the pod resolves as it always did. `serving`: names of services resolve.
 * `waiting`: CoreDNS does not answer yet. `failed`: see the message; the pod resolves as it did before.
 */
export type DnsState = 'idle' | 'serving' | 'waiting' | 'failed'

/** One server that the resolver asks; counts are of this process' life. */
export interface DnsServerStatus {
  readonly address: string
  readonly answered: number
  /** Its answer was the one to be given. */
  readonly won: number
  /** It did not answer in time, or could not be reached. */
  readonly failed: number
  readonly lastError: string | null
  /** ISO 8601. */
  readonly lastErrorAt: string | null
}

/** How the pod's names are resolved now. */
export interface DnsStatus {
  readonly mode: DnsMode
  readonly state: DnsState
  readonly message: string
  /** Who knows which names; the longest domain decides, `.` is everything else. */
  readonly zones: readonly { readonly domain: string; readonly servers: readonly string[] }[]
  readonly search: readonly string[]
  /** Those that were asked; none when CoreDNS resolves. */
  readonly servers: readonly DnsServerStatus[]
}

/** The status of a sidecar that leaves names alone. */
export const dnsOff: DnsStatus = {
  mode: 'off',
  state: 'idle',
  message: 'names are left alone',
  zones: [],
  search: [],
  servers: [],
}
