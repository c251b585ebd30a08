import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'

t.test('the process: listens, is ready, counts, ends on SIGTERM', async (t) => {
  const caPath = join(t.testdir(), 'ca.pem')
  const child = spawn(
    process.execPath,
    [new URL('../../../webhook/dist/main.js', import.meta.url).pathname],
    {
      env: {
        NSM_LISTEN_ON: '127.0.0.1:0',
        NSM_OPS_LISTEN_ON: '127.0.0.1:0',
        NSM_CONTAINER_IMAGES: 'sidecar',
        NSM_CA_BUNDLE_FILE_PATH: caPath,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  t.teardown(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  let listening: { port: number; ops: string } | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as { msg: string; port: number; ops: string }
    if (said.msg === 'listening') listening = said
    if (said.msg === 'ready') break
  }
  if (listening === undefined) throw new Error('never listened')
  child.stdout.resume()
  const { port, ops } = listening
  const req = request({
    host: 'localhost',
    port,
    path: '/mutate',
    method: 'POST',
    ca: readFileSync(caPath),
    agent: false,
  })
  req.end('{}')
  const [res] = (await once(req, 'response')) as [IncomingMessage]
  t.equal(res.resume().statusCode, 400)
  t.match(await (await fetch(`${ops}/readyz`)).text(), /\[\+\]certificate ok\n(?:.+\n)*ok\n$/)
  const metrics = await (await fetch(`${ops}/metrics`)).text()
  t.match(metrics, 'nsm_webhook_requests_total{result="denied",reason="malformed_review"} 1')
  t.match(metrics, /nsm_webhook_certificate_expiry_timestamp_seconds \d{10}/)
  child.kill('SIGTERM')
  t.same(await exit, [0, null])
})
