/** Structured fields of one log line; identities are `connection_id`, `network_service`, `spiffe_id`, `pod`. */
export type Fields = Readonly<Record<string, unknown>>

/** What every part logs through: pino fits as it is, and so does the sidecar's own writer. */
export interface Logger {
  debug(fields: Fields, message: string): void
  info(fields: Fields, message: string): void
  warn(fields: Fields, message: string): void
  error(fields: Fields, message: string): void
  child(fields: Fields): Logger
}

/** Drops everything: for libraries without a caller's log, and for tests. */
export const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
}
