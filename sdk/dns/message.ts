import { decode, encode, type Answer, type Packet } from 'dns-packet'

/** A message of at most 64 KiB over TCP, 512 bytes over UDP without EDNS (RFC 1035 §4.2, RFC 6891). */
export const maxMessageBytes = 65_535
export const plainUdpBytes = 512
/** What this resolver offers upstream; larger answers come over TCP (DNS flag day 2020). */
export const offeredUdpBytes = 1232

const rcodes = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const
export type Rcode = keyof typeof rcodes

const responseFlag = 0x8000
const opcodeMask = 0x7800
const rcodeMask = 0x0f
const truncatedFlag = 0x0200
const recursionAvailable = 0x80
const recursionDesired = 0x0100

/** EDNS option for local use (RFC 6891 §9): in a question it asks which server the answer is from, in an answer it tells. */
const originOption = 65_313

/** One question, as it was asked. */
export interface Query {
  readonly id: number
  /** Lower case, with the final dot. */
  readonly name: string
  /** The same in the letters it was asked in, without the final dot. */
  readonly asked: string
  readonly type: string
  readonly recursionDesired: boolean
  /** DNSSEC records wanted (EDNS DO bit). */
  readonly wantsDnssec: boolean
  readonly hasEdns: boolean
  /** Wants to be told which server answered. */
  readonly wantsOrigin: boolean
  /** Longest answer that the asker takes over UDP. */
  readonly udpBytes: number
}

export type QueryOutcome =
  { readonly query: Query } | { readonly refuse: Rcode; readonly id: number } | { readonly ignore: true }

/** Reads a query; what is no query at all is ignored, what can't be answered is refused with the fitting code. */
export function readQuery(message: Buffer): QueryOutcome {
  if (message.length < 12) return { ignore: true }
  const id = message.readUInt16BE(0)
  const flags = message.readUInt16BE(2)
  if ((flags & responseFlag) !== 0) return { ignore: true }
  if ((flags & opcodeMask) !== 0) return { refuse: 'NOTIMP', id }
  const packet = message.readUInt16BE(4) === 1 ? tryDecode(message) : undefined
  const question = packet?.questions?.[0]
  if (packet === undefined || question === undefined) return { refuse: 'FORMERR', id }
  if ((question.class ?? 'IN') !== 'IN') return { refuse: 'NOTIMP', id }
  return {
    query: {
      id,
      asked: question.name === '.' ? '' : question.name,
      name: canonical(question.name),
      type: question.type,
      recursionDesired: (flags & recursionDesired) !== 0,
      ...readEdns(packet),
    },
  }
}

function readEdns(packet: Packet): Pick<Query, 'wantsDnssec' | 'hasEdns' | 'wantsOrigin' | 'udpBytes'> {
  const opt = packet.additionals?.find((record) => record.type === 'OPT')
  if (opt?.type !== 'OPT')
    return { wantsDnssec: false, hasEdns: false, wantsOrigin: false, udpBytes: plainUdpBytes }
  const udpBytes = Math.max(plainUdpBytes, Math.min(opt.udpPayloadSize, 4096))
  return { wantsDnssec: opt.flag_do, hasEdns: true, wantsOrigin: originIn(opt) !== undefined, udpBytes }
}

function originIn(opt: Answer | undefined): string | undefined {
  if (opt?.type !== 'OPT') return undefined
  const options = opt.options as readonly { readonly code: number; readonly data?: Buffer }[]
  const found = options.find(({ code }) => code === originOption)
  return found === undefined ? undefined : (found.data?.toString('latin1') ?? '')
}

/** The parts of an answer that do not depend on who asked. */
export interface Reply {
  readonly rcode: Rcode | number
  readonly authoritative: boolean
  readonly authenticated: boolean
  readonly answers: readonly Answer[]
  readonly authorities: readonly Answer[]
  /** Without OPT. */
  readonly additionals: readonly Answer[]
  /** Who it is from, when that is known: an address, or `cache`. */
  readonly origin?: string
}

export type ServerAnswer = Reply & {
  readonly truncated: boolean
  readonly name: string
  readonly type: string
}

/** Reads a server's answer. @throws Error when it is malformed. */
export function readAnswer(message: Buffer): ServerAnswer {
  const packet = decode(message)
  const question = packet.questions?.[0]
  const flags = message.readUInt16BE(2)
  const origin = originIn(packet.additionals?.find(({ type }) => type === 'OPT'))
  return {
    ...(origin === undefined || origin === '' ? {} : { origin }),
    rcode: codeName(flags & rcodeMask),
    authoritative: packet.flag_aa,
    authenticated: packet.flag_ad,
    truncated: (flags & truncatedFlag) !== 0,
    name: question === undefined ? '' : question.name,
    type: question?.type ?? '',
    answers: packet.answers ?? [],
    authorities: packet.authorities ?? [],
    additionals: (packet.additionals ?? []).filter(({ type }) => type !== 'OPT'),
  }
}

/** What of a question is its server's business. */
export interface QueryOptions {
  readonly wantsDnssec: boolean
  /** Asks a server of ours whom it has the answer from. */
  readonly wantsOrigin?: boolean
}

/** The query that a server is asked, with its own id and letters (0x20). */
export function writeQuery(id: number, name: string, type: string, options: QueryOptions): Buffer {
  return encode({
    type: 'query',
    id,
    flags: recursionDesired,
    questions: [{ name, type: type as 'A', class: 'IN' }],
    additionals: [edns(options.wantsDnssec, options.wantsOrigin === true ? '' : undefined)],
  })
}

/** An answer for one asker, over TCP (`limit` 65 535) or cut to what they take over UDP. */
export function writeReply(query: Query, reply: Reply, limit: number): Buffer {
  const whole = encodeReply(query, reply, 0)
  if (whole.length <= limit) return whole
  const bare = encodeReply(query, { ...reply, additionals: [] }, 0)
  if (bare.length <= limit) return bare
  return encodeReply(query, { ...reply, answers: [], authorities: [], additionals: [] }, truncatedFlag)
}

/** The shortest answer to a message that could not be read: id and code. */
export function writeRefusal(id: number, rcode: Rcode): Buffer {
  const message = Buffer.alloc(12)
  message.writeUInt16BE(id, 0)
  message.writeUInt16BE(0x8000 | recursionAvailable | rcodes[rcode], 2)
  return message
}

export function canonical(name: string): string {
  const lower = name.toLowerCase()
  return lower.endsWith('.') ? lower : `${lower}.`
}

function encodeReply(query: Query, reply: Reply, extraFlags: number): Buffer {
  const rcode = typeof reply.rcode === 'number' ? reply.rcode : rcodes[reply.rcode]
  const packet: Packet = {
    type: 'response',
    id: query.id,
    flags:
      extraFlags |
      recursionAvailable |
      (rcode & rcodeMask) |
      (reply.authoritative ? 0x0400 : 0) |
      (reply.authenticated ? 0x20 : 0) |
      (query.recursionDesired ? recursionDesired : 0),
    questions: [{ name: query.asked === '' ? '.' : query.asked, type: query.type as 'A', class: 'IN' }],
    answers: [...reply.answers],
    authorities: [...reply.authorities],
    additionals: [
      ...reply.additionals,
      ...(query.hasEdns ? [edns(query.wantsDnssec, query.wantsOrigin ? reply.origin : undefined)] : []),
    ],
  }
  return encode(packet)
}

function edns(dnssec: boolean, origin: string | undefined): Answer {
  return {
    type: 'OPT',
    name: '.',
    udpPayloadSize: offeredUdpBytes,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: dnssec ? 0x8000 : 0,
    flag_do: dnssec,
    options: origin === undefined ? [] : [{ code: originOption, data: Buffer.from(origin, 'latin1') }],
  } as unknown as Answer
}

function tryDecode(message: Buffer): ReturnType<typeof decode> | undefined {
  try {
    return decode(message)
  } catch {
    return undefined
  }
}

function codeName(code: number): Rcode | number {
  const found = Object.entries(rcodes).find(([, number]) => number === code)
  return found === undefined ? code : (found[0] as Rcode)
}
