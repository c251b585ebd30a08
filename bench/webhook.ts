import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { quantile, type Figure, type Section } from './figure.ts'
import { podReview } from './pod-review.ts'

const program = fileURLToPath(new URL('../../webhook/dist/main.js', import.meta.url))
const loads = [
  { what: 'a pod', containers: 1, perSecond: 50, reviews: 1_000, target: 5 },
  { what: 'a pod of 500 containers', containers: 500, perSecond: 5, reviews: 100, target: undefined },
] as const
const warmUp = 200

interface Server {
  readonly child: ChildProcess
  readonly port: number
  readonly ca: string
}

/** Reviews of pods over HTTPS, as API servers send them: on connections that stay, at a steady rate. The webhook is another process. */
export const webhook: Section = async ({ quick }) => {
  const folder = await mkdtemp(join(tmpdir(), 'bench-webhook-'))
  const server = await start(join(folder, 'ca.pem'))
  const agent = new Agent({ keepAlive: true, ca: server.ca })
  try {
    await measure(server.port, agent, { containers: 1, perSecond: 200, reviews: quick ? 5 : warmUp })
    const figures: Figure[] = []
    for (const { what, target, ...load } of loads) {
      const times = await measure(server.port, agent, quick ? { ...load, reviews: 5 } : load)
      const name = `admission of ${what}, ${load.perSecond} a second`
      const p99 = { what: `${name}: p99`, value: quantile(times, 0.99), unit: 'ms' }
      figures.push(
        { what: `${name}: p50`, value: quantile(times, 0.5), unit: 'ms' },
        target === undefined ? p99 : { ...p99, target: { atMost: target } },
      )
    }
    return figures
  } finally {
    agent.destroy()
    server.child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
}

async function start(caFile: string): Promise<Server> {
  const child = spawn(process.execPath, [program], {
    env: {
      NSM_LISTEN_ON: '127.0.0.1:0',
      NSM_OPS_LISTEN_ON: 'off',
      NSM_CONTAINER_IMAGES: 'example.com/nsm/sidecar:1.0',
      NSM_CA_BUNDLE_FILE_PATH: caFile,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let port = 0
  const lines = createInterface({ input: child.stdout })
  for await (const line of lines) {
    const said = JSON.parse(line) as { readonly msg: string; readonly port?: number }
    port = said.port ?? port
    if (said.msg === 'ready') break
  }
  child.stdout.resume()
  return { child, port, ca: await readFile(caFile, 'utf8') }
}

interface Load {
  readonly containers: number
  readonly perSecond: number
  readonly reviews: number
}

/** Milliseconds from the sending of each review to its whole answer. None waits for the one before it to be answered. */
async function measure(
  port: number,
  agent: Agent,
  { containers, perSecond, reviews }: Load,
): Promise<readonly number[]> {
  const body = JSON.stringify(podReview(containers))
  const began = performance.now()
  const times = Array.from({ length: reviews }, async (_, i) => {
    await pause(began + (i * 1_000) / perSecond - performance.now())
    const sent = performance.now()
    await admitted(port, agent, body)
    return performance.now() - sent
  })
  return Promise.all(times)
}

async function admitted(port: number, agent: Agent, body: string): Promise<void> {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const req = request({ host: 'localhost', port, path: '/mutate', method: 'POST', agent, headers })
  req.end(body)
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of res) text += String(chunk)
  if (!text.includes('"patchType":"JSONPatch"')) throw new Error(`not injected: ${text.slice(0, 200)}`)
}
