import type { Policy, ReadToken } from './policy.ts'

export interface Watch {
  /** SPIFFE ID of the one who watches. */
  readonly watcher: string
  /** Tokens of the connection's path from the client to the one before this process. */
  readonly tokens: readonly ReadToken[]
}

/** A connection is told to those who are on its way here: the client and every hop between (§3.6 monitor/service_connection). */
export const serviceConnection: Policy<Watch> = ({ watcher, tokens }) =>
  tokens.some(({ claims }) => claims?.sub === watcher) ? undefined : `${watcher} is not on the path`
