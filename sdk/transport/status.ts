import { constants, type IncomingHttpHeaders } from 'node:http2'
import { codes, NsmError, type Code } from '../errors.ts'

/** Longest status text that is sent, in bytes before escaping: it travels in a header block. */
const maxTextBytes = 4096

const names = new Map(Object.entries(codes).map(([name, number]) => [String(number), name as Code]))

/** The trailers that tell `err`. */
export function statusHeaders(err: NsmError): { 'grpc-status': string; 'grpc-message': string } {
  return { 'grpc-status': String(codes[err.code]), 'grpc-message': escapeText(err.message) }
}

/** What trailers (or headers of an answer without a body) tell; undefined = OK. Unknown codes are UNKNOWN. */
export function statusOf(headers: IncomingHttpHeaders): NsmError | undefined {
  const code = names.get(String(headers['grpc-status']))
  if (code === 'OK') return undefined
  return new NsmError(code ?? 'UNKNOWN', unescapeText(String(headers['grpc-message'] ?? '')))
}

/** What an HTTP status other than 200 means when no gRPC status came (gRPC specification, http-grpc-status-mapping). */
export function httpStatusError(status: number): NsmError {
  return new NsmError(codeOfHttpStatus(status), `answer has HTTP status ${status}, not 200`)
}

/** What the end of a stream without any status means, by its RST_STREAM code. */
export function resetError(rstCode: number): NsmError {
  const [code, text] = resets.get(rstCode) ?? ['INTERNAL', `was reset with HTTP/2 code ${rstCode}`]
  return new NsmError(code, `call ${text}`)
}

const resets = new Map<number, readonly [Code, string]>([
  [constants.NGHTTP2_NO_ERROR, ['INTERNAL', 'ended without a gRPC status']],
  [constants.NGHTTP2_REFUSED_STREAM, ['UNAVAILABLE', 'was refused before it was looked at']],
  [constants.NGHTTP2_CANCEL, ['CANCELLED', 'was cancelled by the peer']],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, ['RESOURCE_EXHAUSTED', 'was refused: the peer has too much to do']],
  [
    constants.NGHTTP2_INADEQUATE_SECURITY,
    ['PERMISSION_DENIED', 'was refused: transport is not secure enough'],
  ],
])

function codeOfHttpStatus(status: number): Code {
  if (status === 400) return 'INTERNAL'
  if (status === 401) return 'UNAUTHENTICATED'
  if (status === 403) return 'PERMISSION_DENIED'
  if (status === 404) return 'UNIMPLEMENTED'
  return [429, 502, 503, 504].includes(status) ? 'UNAVAILABLE' : 'UNKNOWN'
}

/** Bytes outside printable ASCII, and `%`, become `%XX`; bytes, since a lone surrogate has no URI form. */
function escapeText(text: string): string {
  if (text.length <= maxTextBytes && /^[\x20-\x24\x26-\x7e]*$/.test(text)) return text
  let out = ''
  for (const byte of Buffer.from(text).subarray(0, maxTextBytes)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25
    out += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return out
}

function unescapeText(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
