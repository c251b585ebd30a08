import { createSocket } from 'node:dgram'
import { createServer, isIPv6, type Socket } from 'node:net'
import { maxMessageBytes, readQuery, writeRefusal, writeReply, type Query, type Reply } from './message.ts'

/** Answers one question. A rejection becomes SERVFAIL. */
export type Answerer = (query: Query, signal: AbortSignal) => Promise<Reply>

export interface DnsServer {
  /** The port in use: the one asked for, or the kernel's choice for 0. */
  readonly port: number
  close(): Promise<void>
}

/** Questions answered at once per listener, over UDP; the askers of more try again. */
const maxInFlight = 2_048
const maxConnections = 64
const questionsPerConnection = 32
const idleConnectionMs = 10_000

/** Serves DNS on one address, UDP and TCP on one port (RFC 1035 §4.2, RFC 7766). */
export async function dnsServer(address: string, port: number, answer: Answerer): Promise<DnsServer> {
  const stop = new AbortController()
  const udp = await openUdp(address, port, answer, stop.signal)
  try {
    const tcp = await openTcp(address, udp.port, answer, stop.signal)
    return {
      port: udp.port,
      async close() {
        stop.abort(new Error('the server stops'))
        await Promise.all([udp.close(), tcp.close()])
      },
    }
  } catch (err) {
    await udp.close()
    throw err
  }
}

async function openUdp(
  address: string,
  port: number,
  answer: Answerer,
  signal: AbortSignal,
): Promise<DnsServer> {
  const socket = createSocket({
    type: isIPv6(address) ? 'udp6' : 'udp4',
    recvBufferSize: 1 << 20,
    // Answers go to addresses, which need not be looked up.
    lookup: (host, _options, found) => found(null, host, isIPv6(host) ? 6 : 4),
  })
  let inFlight = 0
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(port, address, () => {
      socket.off('error', reject)
      resolve()
    })
  })
  // A single answer that cannot be sent is the asker's to ask again.
  socket.on('error', () => undefined)
  socket.on('message', (message, from) => {
    if (inFlight >= maxInFlight) return
    inFlight += 1
    void respond(message, answer, signal, (query) => query.udpBytes).then((reply) => {
      inFlight -= 1
      if (reply !== undefined && !signal.aborted) socket.send(reply, from.port, from.address)
    })
  })
  return { port: socket.address().port, close: () => new Promise((resolve) => socket.close(() => resolve())) }
}

async function openTcp(
  address: string,
  port: number,
  answer: Answerer,
  signal: AbortSignal,
): Promise<DnsServer> {
  const connections = new Set<Socket>()
  const server = createServer((socket) => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
    serveConnection(socket, answer, signal)
  })
  server.maxConnections = maxConnections
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: address, port, ipv6Only: true }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of connections) socket.destroy()
      }),
  }
}

function serveConnection(socket: Socket, answer: Answerer, signal: AbortSignal): void {
  let received = Buffer.alloc(0)
  let inFlight = 0
  socket.setTimeout(idleConnectionMs, () => socket.destroy())
  socket.on('error', () => socket.destroy())
  const drain = (): void => {
    while (received.length >= 2 && inFlight < questionsPerConnection) {
      const end = 2 + received.readUInt16BE(0)
      if (received.length < end) break
      const message = received.subarray(2, end)
      received = received.subarray(end)
      inFlight += 1
      void respond(message, answer, signal, () => maxMessageBytes).then((reply) => {
        inFlight -= 1
        if (socket.destroyed) return
        if (reply === undefined) socket.destroy()
        else socket.write(withLength(reply))
        drain()
      })
    }
    if (inFlight >= questionsPerConnection) socket.pause()
    else socket.resume()
  }
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    drain()
  })
}

async function respond(
  message: Buffer,
  answer: Answerer,
  signal: AbortSignal,
  limit: (query: Query) => number,
): Promise<Buffer | undefined> {
  const outcome = readQuery(message)
  if ('ignore' in outcome) return undefined
  if ('refuse' in outcome) return writeRefusal(outcome.id, outcome.refuse)
  try {
    return writeReply(outcome.query, await answer(outcome.query, signal), limit(outcome.query))
  } catch {
    return writeRefusal(outcome.query.id, 'SERVFAIL')
  }
}

function withLength(message: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length, 0)
  return Buffer.concat([length, message])
}
