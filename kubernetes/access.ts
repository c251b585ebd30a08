import type { Agent } from 'node:http'
import type { SecureContextOptions } from 'node:tls'

/** Where an API server is and how to be somebody there. */
export interface Access {
  readonly server: URL
  readonly namespace: string
  /** Cheap when nothing has changed. `renew` = the server did not accept the last ones. */
  credentials(renew: boolean): Promise<Credentials>
}

/** What a call carries. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>
  readonly tls: TlsOptions
  /** Of a proxy; undefined = straight to the server. */
  readonly agent?: Agent
}

export interface TlsOptions extends Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'pfx' | 'passphrase'> {
  readonly rejectUnauthorized?: boolean
  readonly servername?: string
}
