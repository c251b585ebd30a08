import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'

/**
 * Runs inside a pod of a mesh that is tested, given to Node.js as text.
 *   answer PORT        sends every UDP packet back
 *   ask HOST PORT      asks every 10 ms, and pings as often, until standard input ends; then tells what was lost, as JSON
 */
const [mode = '', first = '', second = ''] = process.argv.slice(1)
const everyMs = 10
/** What is still on its way when the last question has been asked. */
const graceMs = 1_000

/** What was lost of the questions. A gap is the time between two answers that have no lost one between them, less the pause. */
export interface Heard {
  readonly sent: number
  readonly lost: number
  readonly longestGapMs: number
  /** Numbers of the first lost ones. */
  readonly missing: readonly number[]
  readonly ping: { readonly sent: number; readonly received: number }
}

function answer(port: number): void {
  const socket = createSocket('udp4')
  // Whoever asked may be gone, and the way to it.
  socket.on('error', () => undefined)
  socket.on('message', (message, from) => socket.send(message, from.port, from.address, () => undefined))
  socket.bind(port, () => process.stdout.write('answering\n'))
}

async function ask(host: string, port: number): Promise<Heard> {
  const socket = createSocket('udp4')
  socket.on('error', () => undefined)
  const sentAt: number[] = []
  const heardAt = new Map<number, number>()
  socket.on('message', (message) => heardAt.set(Number(message.toString()), performance.now()))
  const ping = spawn('ping', ['-i', String(everyMs / 1_000), '-q', host], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let summary = ''
  ping.stdout.on('data', (chunk: Buffer) => (summary += chunk.toString()))
  const pinged = new Promise((resolve) => ping.once('close', resolve))
  const timer = setInterval(() => {
    socket.send(String(sentAt.push(performance.now()) - 1), port, host, () => undefined)
  }, everyMs)
  process.stdout.write('asking\n')
  await new Promise((resolve) => process.stdin.resume().once('end', resolve))
  clearInterval(timer)
  ping.kill('SIGINT')
  await pinged
  await new Promise((resolve) => setTimeout(resolve, graceMs))
  const [, sent = '0', received = '0'] = /(\d+) packets transmitted, (\d+) received/.exec(summary) ?? []
  const missing = sentAt.map((_, i) => i).filter((i) => !heardAt.has(i))
  return {
    sent: sentAt.length,
    lost: missing.length,
    longestGapMs: longestGap(sentAt, heardAt),
    missing: missing.slice(0, 20),
    ping: { sent: Number(sent), received: Number(received) },
  }
}

/** From the first lost question to the first one after it that was answered. */
function longestGap(sentAt: readonly number[], heardAt: ReadonlyMap<number, number>): number {
  let longest = 0
  let since: number | undefined
  for (const [i, at] of sentAt.entries()) {
    if (!heardAt.has(i)) {
      since ??= at
      longest = Math.max(longest, at + everyMs - since)
    } else since = undefined
  }
  return Math.round(longest)
}

if (mode === 'answer') answer(Number(first))
if (mode === 'ask') {
  process.stdout.write(`${JSON.stringify(await ask(first, Number(second)))}\n`)
  process.exit(0)
}
