import { checks } from '@nsm/sdk/process/checks.js'
import { metricsText } from '@nsm/sdk/process/metrics-text.js'
import { processMetrics } from '@nsm/sdk/process/metrics.js'
import { opsServer, type OpsOptions, type OpsServer } from '@nsm/sdk/process/ops-server.js'
import { get } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { socketFolder } from '../../kit/socket-folder.ts'

async function serve(t: Test, options: Partial<OpsOptions> = {}): Promise<OpsServer> {
  const server = await opsServer({ listenOn: '127.0.0.1:0', checks: checks(), ...options })
  t.teardown(() => server.close())
  return server
}

async function read(server: OpsServer, path: string): Promise<{ status: number; text: string }> {
  const res = await fetch(`${server.address}${path}`)
  return { status: res.status, text: await res.text() }
}

t.test('healthy, alive, ready with reasons', async (t) => {
  const conditions = checks()
  let reason: string | undefined = 'no answer yet'
  const remove = conditions.add('registry', () => reason)
  conditions.add('identity', () => undefined)
  const server = await serve(t, { checks: conditions })
  t.match(await read(server, '/healthz'), { status: 200, text: 'ok\n' })
  t.match(await read(server, '/livez?verbose'), { status: 200, text: 'ok\n' })
  t.match(await read(server, '/readyz'), {
    status: 503,
    text: '[-]registry failed: no answer yet\n[+]identity ok\nnot ready\n',
  })
  reason = undefined
  t.match(await read(server, '/readyz'), { status: 200, text: '[+]registry ok\n[+]identity ok\nok\n' })
  conditions.add('broken', () => {
    throw new Error('oh')
  })
  t.match(await read(server, '/readyz'), { status: 503, text: /broken failed: Error: oh/ })
  remove()
  t.notMatch((await read(server, '/readyz')).text, /registry/)
  t.match(await read(server, '/elsewhere'), { status: 404 })
  t.match(await read(server, '/metrics'), { status: 404 }, 'none were given')
  t.equal((await fetch(`${server.address}/healthz`, { method: 'POST' })).status, 405)
})

t.test('metrics of a daemon', async (t) => {
  const metrics = processMetrics('nsmgr')
  metrics.called({ operation: 'request', service: 'db', code: 'OK' })
  metrics.setUp('forwarder', 0.01)
  metrics.connections(() => ({ up: 3, down: 1 }))
  for (let i = 0; i < 300; i++) metrics.called({ operation: 'close', service: `s${i}`, code: 'OK' })
  const server = await serve(t, { metrics })
  const { text } = await read(server, '/metrics')
  t.match(text, 'nsm_build_info{app="nsmgr",version="')
  t.match(text, 'nsm_request_total{operation="request",service="db",code="OK"} 1')
  t.match(text, 'nsm_connection_setup_duration_seconds_count{stage="forwarder"} 1')
  t.match(text, 'nsm_connections{state="up"} 3')
  t.match(text, 'nsm_request_total{operation="close",service="other",code="OK"} 101')
})

t.test('metrics without a library', async (t) => {
  const metrics = metricsText([
    {
      name: 'nsm_connections',
      help: 'Connections by state.',
      type: 'gauge',
      read: () => [{ labels: { state: 'a"b\\c\nd', other: 'x' }, value: 2 }],
    },
    { name: 'nsm_heal_total', help: 'Heals.', type: 'counter', read: () => [{ value: 0 }] },
  ])
  t.equal(
    metrics.text(),
    '# HELP nsm_connections Connections by state.\n# TYPE nsm_connections gauge\n' +
      'nsm_connections{state="a\\"b\\\\c\\nd",other="x"} 2\n' +
      '# HELP nsm_heal_total Heals.\n# TYPE nsm_heal_total counter\nnsm_heal_total 0\n',
  )
})

t.test('addresses: unix socket, off, taken, wrong', async (t) => {
  const path = join(socketFolder(t), 'ops.sock')
  const server = await serve(t, { listenOn: `unix://${path}` })
  t.equal(server.address, `unix://${path}`)
  const status = await new Promise((resolve, reject) => {
    get({ socketPath: path, path: '/healthz', agent: false }, (res) => resolve(res.resume().statusCode)).on(
      'error',
      reject,
    )
  })
  t.equal(status, 200)
  t.equal((await serve(t, { listenOn: 'off' })).address, undefined)
  const taken = await serve(t)
  await t.rejects(opsServer({ listenOn: taken.address!.replace('http', 'tcp'), checks: checks() }), {
    code: 'UNAVAILABLE',
    message: /cannot listen on tcp:.*EADDRINUSE/,
  })
  await t.rejects(opsServer({ listenOn: 'here', checks: checks() }), { code: 'INVALID_ARGUMENT' })
  await t.rejects(opsServer({ listenOn: ':70000', checks: checks() }), { code: 'INVALID_ARGUMENT' })
})
