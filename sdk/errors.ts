/** gRPC status codes by their canonical names, with their numbers (gRPC specification, statuscodes). */
export const codes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

export type Code = keyof typeof codes

const names = new Map<number, Code>(Object.entries(codes).map(([name, number]) => [number, name as Code]))

/** The one error type that leaves a package of ours: a gRPC code and a sentence in lower case. */
export class NsmError extends Error {
  readonly code: Code

  constructor(code: Code, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'NsmError'
    this.code = code
  }

  /** Converts whatever was thrown; a gRPC status, by number or by name, keeps its code, an abort becomes CANCELLED, a time-out DEADLINE_EXCEEDED. */
  static from(reason: unknown): NsmError {
    if (reason instanceof NsmError) return reason
    if (!(reason instanceof Error)) return new NsmError('UNKNOWN', String(reason))
    return new NsmError(codeOf(reason), messageOf(reason), { cause: reason })
  }
}

/** The error as Go's gRPC writes it, which is what people search logs of a mesh for: `rpc error: code = NotFound desc = …`. */
export function statusText({ code, message }: NsmError): string {
  const name = code === 'OK' ? code : code === 'CANCELLED' ? 'Canceled' : camelCase(code)
  return `rpc error: code = ${name} desc = ${message}`
}

function camelCase(code: Code): string {
  return code.toLowerCase().replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

function codeOf(err: Error): Code {
  if (err.name === 'AbortError') return 'CANCELLED'
  if (err.name === 'TimeoutError') return 'DEADLINE_EXCEEDED'
  const { code } = err as { code?: unknown }
  if (typeof code === 'number') return names.get(code) ?? 'UNKNOWN'
  return typeof code === 'string' && Object.hasOwn(codes, code) ? (code as Code) : 'UNKNOWN'
}

/** grpc-js puts "13 INTERNAL: " before the text; `details` is the text alone. */
function messageOf(err: Error): string {
  const { details } = err as { details?: unknown }
  return typeof details === 'string' && details !== '' ? details : err.message
}
