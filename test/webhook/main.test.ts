import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { testApiServer, type TestApiServer } from '../kit/api-server.js'
import { until } from '../kit/until.js'

const program = new URL('../../../webhook/dist/main.js', import.meta.url).pathname

interface Started {
  /** Where its health is told; it is known before the process is ready. */
  readonly ops: string
  /** Resolves with its first line of log: its health is served by then. */
  readonly spoke: Promise<unknown>
  /** Resolves with the port when it answers reviews. */
  readonly ready: Promise<number>
  readonly exit: Promise<unknown[]>
  kill(signal: NodeJS.Signals): void
}

let opsPort = 20_000 + (process.pid % 10_000)

function start(t: Test, env: Record<string, string>): Started {
  const ops = `127.0.0.1:${opsPort++}`
  const child = spawn(process.execPath, [program], {
    env: {
      NSM_LISTEN_ON: '127.0.0.1:0',
      NSM_OPS_LISTEN_ON: ops,
      NSM_CONTAINER_IMAGES: 'sidecar',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })
  const ready = new Promise<number>((resolve) => {
    let listening = 0
    lines.on('line', (line) => {
      const said = JSON.parse(line) as { msg: string; port: number }
      if (said.msg === 'listening') listening = said.port
      if (said.msg === 'ready') resolve(listening)
    })
  })
  return {
    ops: `http://${ops}`,
    spoke: once(lines, 'line'),
    ready,
    exit: once(child, 'exit'),
    kill: (signal) => void child.kill(signal),
  }
}

async function post(port: number, ca: string, body: string): Promise<IncomingMessage> {
  const req = request({ host: 'localhost', port, path: '/mutate', method: 'POST', ca, agent: false })
  req.end(body)
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  return res.resume()
}

t.test('the process: listens, is ready, counts, ends on SIGTERM', async (t) => {
  const caPath = join(t.testdir(), 'ca.pem')
  const { ops, ready, exit, kill } = start(t, { NSM_CA_BUNDLE_FILE_PATH: caPath })
  t.equal((await post(await ready, readFileSync(caPath, 'utf8'), '{}')).statusCode, 400)
  t.match(await (await fetch(`${ops}/readyz`)).text(), /\[\+\]certificate ok\n(?:.+\n)*ok\n$/)
  const metrics = await (await fetch(`${ops}/metrics`)).text()
  t.match(metrics, 'nsm_webhook_requests_total{result="error",reason="malformed_review"} 1')
  t.match(metrics, /nsm_webhook_certificate_expiry_timestamp_seconds \d{10}/)
  t.match(metrics, /nsm_webhook_authority_expiry_timestamp_seconds \d{10}/)
  kill('SIGTERM')
  t.same(await exit, [0, null])
})

t.test('told to stop: not ready any more, but it answers for the time given', async (t) => {
  const caPath = join(t.testdir(), 'ca.pem')
  const { ops, ready, kill } = start(t, { NSM_CA_BUNDLE_FILE_PATH: caPath, NSM_DRAIN: '20s' })
  const port = await ready
  kill('SIGTERM')
  await until('it is not ready', async () => (await fetch(`${ops}/readyz`)).status === 503)
  t.match(await (await fetch(`${ops}/readyz`)).text(), '[-]running failed: told to stop')
  const { statusCode, headers } = await post(port, readFileSync(caPath, 'utf8'), '{}')
  t.match({ statusCode, headers }, { statusCode: 400, headers: { connection: 'close' } })
})

t.test('without API server it is alive and not ready, and goes on when there is one', async (t) => {
  const server = await testApiServer()
  t.teardown(() => server.stop())
  const secret = { kind: 'Secret', metadata: { name: 'ca', namespace: 'nsm' } }
  server.store.put('/api/v1/secrets', secret)
  server.intercept = ({ path }, res) => {
    if (path !== '/version') return false
    res.writeHead(200, { 'content-type': 'application/json' })
    res.end(JSON.stringify({ major: '1', minor: '28+', gitVersion: 'v1.28.0' }))
    return true
  }
  await server.stop()
  const { ops, spoke, ready } = start(t, {
    KUBECONFIG: kubeconfigOf(t, server),
    NSM_NAMESPACES_FROM: 'api',
    NSM_CA_SECRET: 'ca',
    NSM_NAMESPACE: 'nsm',
  })
  await spoke
  t.equal((await fetch(`${ops}/healthz`)).status, 200)
  const readiness = await fetch(`${ops}/readyz`)
  t.equal(readiness.status, 503)
  t.match(await readiness.text(), '[-]certificate failed: there is no serving certificate yet')
  await server.start()
  const port = await ready
  await until('it is ready', async () => (await fetch(`${ops}/readyz`)).status === 200)
  const { data } = server.store.get('/api/v1/secrets', 'nsm', 'ca') as unknown as {
    data: Record<string, string>
  }
  const [ca] = Object.entries(data).flatMap(([name, value]) =>
    name.endsWith('.crt') ? [Buffer.from(value, 'base64').toString()] : [],
  )
  t.equal((await post(port, ca ?? '', '{}')).statusCode, 400)
})

function kubeconfigOf(t: Test, { port, ca }: TestApiServer): string {
  const cluster = {
    server: `https://localhost:${port}`,
    'certificate-authority-data': Buffer.from(ca).toString('base64'),
  }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user: { token: 'x' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  }
  return join(t.testdir({ kubeconfig: JSON.stringify(config) }), 'kubeconfig')
}
