import { NsmError, type Code } from '@nsm/sdk/errors.js'

const codesOfStatus: Readonly<Record<number, Code>> = {
  400: 'INVALID_ARGUMENT',
  401: 'PERMISSION_DENIED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  405: 'UNIMPLEMENTED',
  406: 'UNIMPLEMENTED',
  408: 'DEADLINE_EXCEEDED',
  409: 'ABORTED',
  410: 'OUT_OF_RANGE',
  413: 'INVALID_ARGUMENT',
  415: 'UNIMPLEMENTED',
  422: 'INVALID_ARGUMENT',
  429: 'RESOURCE_EXHAUSTED',
  504: 'DEADLINE_EXCEEDED',
}

const longestMessage = 1000

/** What the server said, as an error: HTTP status and Kubernetes' Status in the body, if it is one. */
export function statusError(what: string, httpStatus: number, body: string): NsmError {
  const { message, reason, isVersionUnknown } = statusOf(body)
  const said = message ?? body.trim()
  const because = reason === undefined ? '' : ` (${reason})`
  const sentence = `${what}: ${(said === '' ? `HTTP status ${httpStatus}` : said).slice(0, longestMessage)}${because}`
  return new NsmError(isVersionUnknown ? 'OUT_OF_RANGE' : codeOf(httpStatus, reason), sentence)
}

function codeOf(httpStatus: number, reason: string | undefined): Code {
  if (httpStatus === 409 && reason === 'AlreadyExists') return 'ALREADY_EXISTS'
  return codesOfStatus[httpStatus] ?? (httpStatus >= 500 ? 'UNAVAILABLE' : 'UNKNOWN')
}

interface Status {
  readonly message?: string
  readonly reason?: string
  /** A version that the server hasn't reached yet: it may have been restored from an older copy. */
  readonly isVersionUnknown: boolean
}

function statusOf(body: string): Status {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed !== 'object' || parsed === null) return { isVersionUnknown: false }
    const { message, reason, details } = parsed as Record<string, unknown>
    return {
      ...(typeof message === 'string' ? { message } : {}),
      ...(typeof reason === 'string' && reason !== '' ? { reason } : {}),
      isVersionUnknown: JSON.stringify(details ?? {}).includes('"ResourceVersionTooLarge"'),
    }
  } catch {
    return { isVersionUnknown: false }
  }
}
