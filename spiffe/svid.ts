import type { KeyObject, X509Certificate } from 'node:crypto'

/** An X.509-SVID: an identity, the chain that proves it and the key to it (SPIFFE X509-SVID). */
export interface X509Svid {
  /** `spiffe://<trust domain>/<path>`. */
  readonly id: string
  /** Leaf first. */
  readonly certificates: readonly [X509Certificate, ...X509Certificate[]]
  readonly privateKey: KeyObject
  readonly hint: string
}

/** Roots by trust domain name (without scheme): never merged into one pool (SPIFFE Federation, "Bundle Set"). */
export type X509Bundles = ReadonlyMap<string, readonly X509Certificate[]>

/** The full state of one Workload API message. */
export interface X509State {
  /** The default one first; never empty. */
  readonly svids: readonly [X509Svid, ...X509Svid[]]
  readonly bundles: X509Bundles
}

/** Where an identity comes from, with its rotations. */
export interface X509Source {
  /** The newest state. */
  readonly current: X509State
  /** Calls on every change; the answer stops it. */
  onChange(listener: (state: X509State) => void): () => void
  close(): void
}
