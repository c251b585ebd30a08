import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { ownNetnsUrl } from '@nsm/api/constants.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background, withTimeout } from '@nsm/sdk/ctx.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { silent } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'

/**
 * Runs inside a pod of the mesh that is measured; prints one JSON array of milliseconds.
 *   requests COUNT            a warm client: Request until the answer, when the interface has its address; each closed again
 *   starts COUNT BUNDLE       a sidecar from its exec until the interface has its address; each ended again
 */
const [mode, count = '1', bundle = ''] = process.argv.slice(2)
const agent = 'unix:///run/spire/sockets/agent.sock'
const manager = 'unix:///var/lib/networkservicemesh/nsm.io.sock'
const device = 'nsm-1'
/** Requests of a client that has just started: asked, and not counted. */
const warmUp = 20

async function requests(rounds: number): Promise<number[]> {
  const source = await openIdentity(agent, silent, new AbortController().signal)
  const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })
  const unix = { connectUnix, listenUnix }
  const sessions = dialer({ source, tokens, unix, dialTimeoutMs: 5_000, log: silent })
  const service = clientChain({
    name: 'bench',
    dial: sessions.dial,
    url: manager,
    authorize: true,
    elements: [kernelClient({ netnsUrl: ownNetnsUrl }), sendFdClient(native)],
  })
  const samples: number[] = []
  for (let round = -warmUp; round < rounds; round += 1) {
    const request = NetworkServiceRequest.fromPartial({
      connection: { id: `bench-${process.pid}-${round}`, networkService: 'bench' },
      mechanismPreferences: [{ cls: 'LOCAL', type: 'KERNEL', parameters: { name: device } }],
    })
    await withTimeout(background(), 15_000, async (ctx) => {
      const begin = performance.now()
      const conn = await service.request(ctx, request)
      samples.push(performance.now() - begin)
      if (!(await hasAddress())) throw new Error(`${device} has no address although it was answered`)
      await service.close(ctx, conn)
    })
  }
  service.stop()
  sessions.close()
  source.close()
  return samples.slice(warmUp)
}

async function starts(rounds: number): Promise<number[]> {
  const samples: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const begin = performance.now()
    const child = spawn(process.execPath, ['--use-openssl-ca', bundle], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        PATH: process.env['PATH'],
        SSL_CERT_FILE: '/dev/null',
        SSL_CERT_DIR: '/nonexistent',
        SPIFFE_ENDPOINT_SOCKET: agent,
        NSM_CONNECT_TO: manager,
        NSM_NAME: `start-${process.pid}-${round}`,
        NSM_OPS_LISTEN_ON: ':19080',
        NSM_NETWORK_SERVICES: `kernel://bench/${device}`,
      },
    })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    const up = saysThatItIsUp(child.stdout)
    while (!(await hasAddress())) await new Promise((resolve) => setTimeout(resolve, 1))
    samples.push(performance.now() - begin)
    // One that has not heard the answer could not close.
    await up
    child.kill('SIGTERM')
    await ended
  }
  return samples
}

function saysThatItIsUp(output: Readable): Promise<void> {
  let text = ''
  return new Promise((resolve) => {
    output.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      if (text.includes('all connections are up')) resolve()
    })
  })
}

async function hasAddress(): Promise<boolean> {
  // The file is cheaper to ask than the kernel's tables, and these questions run beside what is measured.
  if (!existsSync(`/sys/class/net/${device}`)) return false
  const netns = native.ownNetns()
  try {
    const { addresses } = await native.read(netns, ['addresses'])
    return addresses.some(({ dev, scope }) => dev === device && scope === 'global')
  } finally {
    native.close(netns)
  }
}

const samples = await (mode === 'starts' ? starts(Number(count)) : requests(Number(count)))
process.stdout.write(`${JSON.stringify(samples)}\n`)
// Nothing is left to be done: timers of sessions that linger need not be waited for.
process.exit(0)
