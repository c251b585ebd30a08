import { SpiffeError } from './errors.ts'

/** Flag and length before each message (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const prefixBytes = 5

/** Takes the messages out of a gRPC body. */
export interface MessageReader {
  /** The messages that are complete with this chunk. @throws SpiffeError RESOURCE_EXHAUSTED, UNIMPLEMENTED or INTERNAL. */
  push(chunk: Buffer): Buffer[]
  /** Bytes of an unfinished message are waiting. */
  readonly partial: boolean
}

/** One uncompressed message with its prefix. */
export function frame(message: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(prefixBytes + message.length)
  out.writeUInt8(0, 0)
  out.writeUInt32BE(message.length, 1)
  out.set(message, prefixBytes)
  return out
}

/** Holds at most one message of `maxBytes` and one chunk; the length is checked before the body is collected. */
export function messageReader(maxBytes: number): MessageReader {
  let parts: Buffer[] = []
  let held = 0
  let wanted = prefixBytes

  return {
    get partial() {
      return held > 0
    },
    push(chunk) {
      parts.push(chunk)
      held += chunk.length
      if (held < wanted) return []
      let rest = parts.length === 1 ? chunk : Buffer.concat(parts, held)
      const messages: Buffer[] = []
      wanted = prefixBytes
      while (rest.length >= prefixBytes) {
        const end = prefixBytes + lengthOf(rest, maxBytes)
        if (rest.length < end) {
          wanted = end
          break
        }
        messages.push(rest.subarray(prefixBytes, end))
        rest = rest.subarray(end)
      }
      parts = rest.length === 0 ? [] : [rest]
      held = rest.length
      return messages
    },
  }
}

function lengthOf(prefix: Buffer, maxBytes: number): number {
  const flag = prefix.readUInt8(0)
  if (flag === 1) {
    throw new SpiffeError(
      'UNIMPLEMENTED',
      'message is compressed, which was not offered: send it as identity',
    )
  }
  if (flag !== 0) throw new SpiffeError('INTERNAL', `message begins with flag ${flag}, not 0 or 1`)
  const length = prefix.readUInt32BE(1)
  if (length > maxBytes) {
    throw new SpiffeError('RESOURCE_EXHAUSTED', `message has ${length} bytes, at most ${maxBytes} are taken`)
  }
  return length
}
