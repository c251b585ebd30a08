import type { Cluster, PodName } from './harness/cluster.ts'
import { waitFor } from './harness/wait-for.ts'
import { image, restricted } from './installed-mesh.ts'

const port = 7007

/** A container that sends every UDP packet back to where it came from. */
export const echoServer: object = {
  name: 'echo',
  image,
  command: [
    '/nsm/node',
    '-e',
    `const socket = require('node:dgram').createSocket('udp4')
socket.on('message', (message, peer) => socket.send(message, peer.port, peer.address)).bind(${port})
process.once('SIGTERM', () => process.exit())`,
  ],
  securityContext: restricted,
}

/**
 * A container that sends a numbered packet to `address` every 10 ms from when the first one is answered, and each second writes how
 * many it has sent, how many came back, and the longest time without an answer.
 */
export function echoClient(address: string): Readonly<Record<string, unknown>> {
  const script = `const socket = require('node:dgram').createSocket('udp4')
let sent = 0, received = 0, first = -1, last = 0, longestMs = 0
const seen = new Set()
socket.on('message', (message) => {
  const number = message.readUInt32BE(0)
  if (first < 0) { first = number; last = performance.now() }
  if (number < first || seen.has(number)) return
  seen.add(number); received++
  longestMs = Math.max(longestMs, performance.now() - last); last = performance.now()
})
socket.on('error', () => undefined)
let number = 0
setInterval(() => {
  const message = Buffer.alloc(64); message.writeUInt32BE(number++, 0)
  socket.send(message, ${port}, '${address}', () => undefined)
}, 10)
setInterval(() => {
  // What is on its way is not lost.
  const settled = number - 50
  let lost = 0
  if (first >= 0) for (let n = first; n < settled; n++) if (!seen.has(n)) lost++
  if (first >= 0) console.log(JSON.stringify({ sent: settled - first, lost, longestMs: Math.round(Math.max(longestMs, performance.now() - last)) }))
}, 1000)
process.once('SIGTERM', () => process.exit())`
  return { name: 'app', image, command: ['/nsm/node', '-e', script], securityContext: restricted }
}

/** What a client has counted since its first answer. */
export interface Counted {
  /** Packets whose answer is due. */
  readonly sent: number
  readonly lost: number
  /** Longest time without an answer, ms. */
  readonly longestMs: number
}

/** What an `echoClient` has counted last; waits until it has got its first answer. */
export async function counted(cluster: Cluster, { namespace, name }: PodName): Promise<Counted> {
  return waitFor(`answers of the echo for ${name}`, async () => {
    const log = await cluster.kubectl(['logs', '-n', namespace, name, '-c', 'app', '--tail=1'])
    return log === '' ? undefined : (JSON.parse(log) as Counted)
  })
}

/** What it has counted when at least `packets` more are due than in `before`. */
export async function countedSince(
  cluster: Cluster,
  pod: PodName,
  before: Counted,
  packets: number,
): Promise<Counted> {
  return waitFor(`${packets} more packets`, async () => {
    const now = await counted(cluster, pod)
    return now.sent >= before.sent + packets ? now : undefined
  })
}
