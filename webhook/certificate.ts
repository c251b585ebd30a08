/** A certificate with its key, as TLS takes them. */
export interface CertificatePair {
  /** PEM, leaf first. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  readonly expires: Date
}

/** The serving certificate, with its rotations. */
export interface ServingCertificate {
  readonly current: CertificatePair
  /** Called on every change. */
  onChange(listener: (pair: CertificatePair) => void): void
  close(): void
}
