/** The gRPC status names that this package uses (gRPC specification, statuscodes). */
export type SpiffeCode =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED'

/** Every error of this package: a gRPC code and a sentence in lower case. */
export class SpiffeError extends Error {
  readonly code: SpiffeCode

  constructor(code: SpiffeCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'SpiffeError'
    this.code = code
  }
}

/** The text of whatever was thrown. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
