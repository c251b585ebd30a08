import { SpiffeError } from './errors.ts'

/** One DER element (X.690 §8.1): what a certificate is made of. */
export interface Element {
  readonly tag: number
  readonly value: Buffer
  /** Tag, length and value as they stand. */
  readonly raw: Buffer
}

/** Reads elements one after another; every length is checked against what is there. */
export interface DerReader {
  readonly done: boolean
  /** The next element's tag; -1 at the end. */
  readonly tag: number
  /** @throws SpiffeError INVALID_ARGUMENT when there is none, or one of another tag. */
  next(expectedTag?: number): Element
  /** The next element if it has this tag. */
  optional(tag: number): Element | undefined
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const

/** A reader over DER bytes. */
export function derReader(bytes: Buffer): DerReader {
  let offset = 0
  const reader: DerReader = {
    get done() {
      return offset >= bytes.length
    },
    get tag() {
      return bytes[offset] ?? -1
    },
    next(expectedTag) {
      const element = readElement(bytes, offset)
      if (expectedTag !== undefined && element.tag !== expectedTag) {
        throw malformed(`tag 0x${element.tag.toString(16)} stands where 0x${expectedTag.toString(16)} is due`)
      }
      offset += element.raw.length
      return element
    },
    optional: (tag) => (reader.tag === tag ? reader.next() : undefined),
  }
  return reader
}

/** Cuts concatenated DER sequences apart: a certificate chain, a bundle. @throws SpiffeError INVALID_ARGUMENT. */
export function splitDer(bytes: Buffer, maxElements: number): Buffer[] {
  const reader = derReader(bytes)
  const parts: Buffer[] = []
  while (!reader.done) {
    if (parts.length === maxElements) throw malformed(`more than ${maxElements} certificates in one field`)
    parts.push(reader.next(tags.sequence).raw)
  }
  return parts
}

/** An OID in dotted form. @throws SpiffeError INVALID_ARGUMENT. */
export function readOid(value: Buffer): string {
  const first = value[0]
  if (first === undefined || value.length > 32) throw malformed('object identifier of a wrong length')
  const parts = [Math.min(2, Math.floor(first / 40)), first >= 80 ? first - 80 : first % 40]
  let part = 0
  for (const byte of value.subarray(1)) {
    part = part * 128 + (byte & 0x7f)
    if (byte & 0x80) continue
    parts.push(part)
    part = 0
  }
  return parts.join('.')
}

/** UTCTime or GeneralizedTime, in seconds and UTC as RFC 5280 §4.1.2.5 demands, as ms since the epoch. */
export function readTime(element: Element): number {
  const text = element.value.toString('latin1')
  const match =
    element.tag === tags.utcTime
      ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
      : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
  if (match === null) throw malformed('time is not in UTC with seconds')
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number)
  const century = element.tag !== tags.utcTime ? 0 : year < 50 ? 2000 : 1900
  return Date.UTC(century + year, month - 1, day, hour, minute, second)
}

function readElement(bytes: Buffer, offset: number): Element {
  const tag = bytes[offset]
  const first = bytes[offset + 1]
  if (tag === undefined || first === undefined) throw malformed('ends early')
  if ((tag & 0x1f) === 0x1f) throw malformed('has a tag of many bytes')
  const extra = first < 0x80 ? 0 : first & 0x7f
  if (first === 0x80 || extra > 4) throw malformed('has a length of a kind that DER does not know')
  if (offset + 2 + extra > bytes.length) throw malformed('ends early')
  const length = extra === 0 ? first : bytes.readUIntBE(offset + 2, extra)
  const start = offset + 2 + extra
  const end = start + length
  if (end > bytes.length) throw malformed('ends early')
  return { tag, value: bytes.subarray(start, end), raw: bytes.subarray(offset, end) }
}

function malformed(what: string): SpiffeError {
  return new SpiffeError('INVALID_ARGUMENT', `malformed DER: ${what}`)
}
