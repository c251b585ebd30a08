import { randomBytes, randomInt } from 'node:crypto'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, isIPv6 } from 'node:net'
import { canonical, maxMessageBytes, readAnswer, writeQuery, type ServerAnswer } from './message.ts'

/** One server, asked over UDP and, when its answer was cut, over TCP. */
export interface Upstream {
  readonly address: string
  /** Resolves with an answer of any code; rejects when there is none in time or the signal aborts. */
  ask(question: Question, signal?: AbortSignal): Promise<ServerAnswer>
  /** Questions that wait are rejected. */
  close(): void
}

export interface Question {
  /** Lower case, with the final dot. */
  readonly name: string
  readonly type: string
  readonly wantsDnssec: boolean
  /** Asks a server of ours whom it has the answer from. */
  readonly wantsOrigin?: boolean
}

export interface UpstreamOptions {
  readonly port: number
  /** Longest wait for one answer; a query is sent again once, half way. */
  readonly timeoutMs: number
}

/** A server gets this many questions at once; more are refused at once rather than queued. */
const maxPending = 2_000
/** Source ports in use, and how often one is used before another takes its place: guessing must stay hopeless (RFC 5452). */
const socketCount = 4
const usesPerSocket = 5_000

interface Pending {
  readonly question: Question
  readonly asked: string
  readonly settle: (answer: ServerAnswer) => void
  readonly fail: (err: Error) => void
}

export function upstream(address: string, options: UpstreamOptions): Upstream {
  const ports = portPool(address, options.port)
  let pendingCount = 0
  return {
    address,
    async ask(question, signal) {
      signal?.throwIfAborted()
      if (pendingCount >= maxPending) throw new Error(`${maxPending} questions wait for this server already`)
      pendingCount += 1
      try {
        const answer = await overUdp(ports.take(), question, options.timeoutMs, signal)
        return answer.truncated ? await overTcp(address, question, options, signal) : answer
      } finally {
        pendingCount -= 1
      }
    },
    close: () => ports.close(),
  }
}

/** A few source ports, each renewed after some use. */
function portPool(address: string, serverPort: number): { take(): Port; close(): void } {
  const ports: Port[] = []
  return {
    take() {
      const index = randomInt(socketCount)
      const known = ports[index]
      if (known !== undefined && known.uses < usesPerSocket && !known.failed) return known
      known?.retire()
      const fresh = openPort(address, serverPort)
      ports[index] = fresh
      return fresh
    },
    close() {
      for (const port of ports) port?.close()
    },
  }
}

function overUdp(
  port: Port,
  question: Question,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<ServerAnswer> {
  return new Promise((resolve, reject) => {
    const asked = randomCase(question.name)
    const done = (finish: () => void): void => {
      clearTimeout(again)
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      port.remove(id)
      finish()
    }
    const fail = (err: Error): void => done(() => reject(err))
    const onAbort = (): void => fail(signal?.reason as Error)
    const send = (): void => port.send(writeQuery(id, asked, question.type, question), fail)
    const again = setTimeout(send, timeoutMs / 2)
    const timer = setTimeout(() => {
      // Its source address may be one that the pod has no more.
      port.failed = true
      fail(new Error(`no answer within ${timeoutMs} ms`))
    }, timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    const id = port.add({ question, asked, settle: (answer) => done(() => resolve(answer)), fail })
    send()
  })
}

/** One UDP source port with the questions that wait on it. */
interface Port {
  uses: number
  failed: boolean
  readonly pending: Map<number, Pending>
  add(pending: Pending): number
  remove(id: number): void
  send(message: Buffer, onError: (err: Error) => void): void
  /** Takes no new questions; closes when those that wait are done. */
  retire(): void
  /** Fails what waits and closes at once. */
  close(): void
}

function openPort(address: string, serverPort: number): Port {
  const socket: UdpSocket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  const pending = new Map<number, Pending>()
  const waiting: (() => void)[] = []
  let isConnected = false
  let state: 'open' | 'retired' | 'closed' = 'open'
  const close = (): void => {
    if (state === 'closed') return
    state = 'closed'
    for (const { fail } of pending.values()) fail(new Error('the server is asked no more'))
    socket.close()
  }
  const port: Port = {
    uses: 0,
    failed: false,
    pending,
    add(entry) {
      let id = randomInt(0x10000)
      while (pending.has(id)) id = randomInt(0x10000)
      pending.set(id, entry)
      port.uses += 1
      return id
    },
    remove(id) {
      pending.delete(id)
      if (state === 'retired' && pending.size === 0) close()
    },
    send(message, onError) {
      if (state === 'closed') return onError(new Error('the server is asked no more'))
      const sent = (err: Error | null): void => {
        if (err !== null) onError(err)
      }
      if (isConnected) socket.send(message, sent)
      else waiting.push(() => socket.send(message, sent))
    },
    retire() {
      if (state === 'open') state = 'retired'
      if (pending.size === 0) close()
    },
    close,
  }
  // Such as ECONNREFUSED, when nobody listens there: nothing more needs to be waited for.
  socket.on('error', (err: NodeJS.ErrnoException) => {
    port.failed = true
    const reason = new Error(err.code === 'ECONNREFUSED' ? 'nobody listens there' : err.message)
    for (const { fail } of pending.values()) fail(reason)
  })
  // A connected socket gets the server's answers only, and the kernel's word when there is none.
  socket.connect(serverPort, address, () => {
    isConnected = true
    if (state !== 'closed') for (const send of waiting) send()
    waiting.length = 0
  })
  socket.on('message', (message) => {
    if (message.length >= 12) settle(pending.get(message.readUInt16BE(0)), message)
  })
  return port
}

/** Drops what is malformed or not the answer to this very question, letters included: it may be forged. */
function settle(entry: Pending | undefined, message: Buffer): void {
  if (entry === undefined) return
  let answer: ServerAnswer
  try {
    answer = readAnswer(message)
  } catch {
    return
  }
  if (`${answer.name}.` !== entry.asked && answer.name !== entry.asked) {
    // Some servers answer in lower case; such an answer counts only if the name is the same.
    if (canonical(answer.name) !== entry.question.name) return
  }
  if (answer.type === entry.question.type) entry.settle(withoutOurLetters(answer, entry.question.name))
}

/** Servers give the records under the name in the letters that they were asked with: nobody else is to see those. */
function withoutOurLetters(answer: ServerAnswer, name: string): ServerAnswer {
  const plain = name.slice(0, -1)
  const answers = answer.answers.map((record) =>
    record.name !== plain && record.name.toLowerCase() === plain ? { ...record, name: plain } : record,
  )
  return { ...answer, answers }
}

async function overTcp(
  address: string,
  question: Question,
  options: UpstreamOptions,
  signal: AbortSignal | undefined,
): Promise<ServerAnswer> {
  const id = randomInt(0x10000)
  const socket = connect({ host: address, port: options.port, ...(signal === undefined ? {} : { signal }) })
  socket.setTimeout(options.timeoutMs, () =>
    socket.destroy(new Error(`no answer over TCP within ${options.timeoutMs} ms`)),
  )
  try {
    const query = writeQuery(id, question.name, question.type, question)
    const length = Buffer.alloc(2)
    length.writeUInt16BE(query.length, 0)
    socket.write(Buffer.concat([length, query]))
    let received = Buffer.alloc(0)
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      received = Buffer.concat([received, chunk])
      if (received.length > maxMessageBytes + 2) break
      if (received.length < 2) continue
      const end = 2 + received.readUInt16BE(0)
      if (received.length < end) continue
      const message = received.subarray(2, end)
      if (message.length < 12 || message.readUInt16BE(0) !== id) break
      return { ...readAnswer(message), truncated: false }
    }
    throw new Error('the connection ended without an answer')
  } finally {
    socket.destroy()
  }
}

/** Random bytes, fetched many at a time: the kernel's are dear one by one. */
let pool = Buffer.alloc(0)
function random(count: number): Buffer {
  if (pool.length < count) pool = randomBytes(4_096)
  const taken = pool.subarray(0, count)
  pool = pool.subarray(count)
  return taken
}

/** Letters in random case make an answer harder to forge (draft-vixie-dnsext-dns0x20). */
function randomCase(name: string): string {
  const bits = random(Math.ceil(name.length / 8))
  let text = ''
  for (let at = 0; at < name.length; at += 1) {
    const letter = name.charAt(at)
    text += ((bits[at >> 3] ?? 0) >> (at & 7)) & 1 ? letter.toUpperCase() : letter
  }
  return text
}
