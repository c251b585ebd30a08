import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { decode, encode, type Answer, type DecodedPacket, type Packet } from 'dns-packet'
import type { Test } from 'tap'

/** What a test's DNS server says to one question; undefined = nothing at all. */
export type Script = (
  name: string,
  type: string,
  query: DecodedPacket,
) => Partial<ScriptedAnswer> | undefined | Promise<Partial<ScriptedAnswer> | undefined>

export interface ScriptedAnswer {
  readonly rcode: number
  readonly answers: readonly Answer[]
  readonly authorities: readonly Answer[]
  /** Says over UDP that the answer is cut. */
  readonly truncated: boolean
  /** Sent as it is, in place of everything else (the id is put in). */
  readonly raw: Buffer
}

export interface ScriptedServer {
  readonly port: number
  readonly address: string
  /** Questions seen, as `name type transport`. */
  readonly seen: string[]
}

/** A DNS server that does what a test says, on UDP and TCP of one loopback address; gone with the test. */
export async function dnsScript(
  t: Test,
  address: string,
  port: number,
  script: Script,
): Promise<ScriptedServer> {
  const seen: string[] = []
  const reply = async (message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> => {
    const query = decode(message)
    const question = query.questions?.[0]
    if (question === undefined) return undefined
    seen.push(`${question.name.toLowerCase()} ${question.type} ${transport}`)
    const said = await script(question.name.toLowerCase(), question.type, query)
    if (said === undefined) return undefined
    if (said.raw !== undefined) {
      const raw = Buffer.from(said.raw)
      raw.writeUInt16BE(query.id ?? 0, 0)
      return raw
    }
    const cut = said.truncated === true && transport === 'udp'
    const packet: Packet = {
      type: 'response',
      id: query.id ?? 0,
      flags: (said.rcode ?? 0) | 0x80 | (cut ? 0x0200 : 0),
      questions: [question],
      answers: cut ? [] : [...(said.answers ?? [])],
      authorities: [...(said.authorities ?? [])],
    }
    return encode(packet)
  }

  const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  udp.on('message', (message, from) => {
    void reply(message, 'udp').then((answer) => {
      if (answer !== undefined) udp.send(answer, from.port, from.address, () => undefined)
    })
  })
  await new Promise<void>((resolve) => udp.bind(port, address, resolve))
  const bound = udp.address().port
  const tcp = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      void reply(chunk.subarray(2), 'tcp').then((answer) => {
        if (answer === undefined) return
        const length = Buffer.alloc(2)
        length.writeUInt16BE(answer.length, 0)
        socket.end(Buffer.concat([length, answer]))
      })
    })
  })
  await new Promise<void>((resolve) => tcp.listen(bound, address, resolve))
  t.teardown(async () => {
    await new Promise<void>((resolve) => udp.close(() => resolve()))
    await new Promise<void>((resolve) => tcp.close(() => resolve()))
  })
  return { port: bound, address, seen }
}

/** An A record. */
export function a(name: string, data: string, ttl = 30): Answer {
  return { name, type: 'A', ttl, data }
}
