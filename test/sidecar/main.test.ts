import { mkdtemp, rm } from 'node:fs/promises'
import { statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import type { Element } from '@nsm/sdk/chain.js'
import { serverChain } from '@nsm/sdk/chains/server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { silent } from '@nsm/sdk/log.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import type { SidecarStatus } from '@nsm/sidecar/status.js'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { testAuthority } from '../kit/identity.js'
import { faults } from '../kit/json-schema.js'
import { startProcess } from '../kit/running-process.js'
import { until } from '../kit/until.js'
import { messageOf, workloadServer } from '../kit/workload-server.js'

interface Asked {
  readonly caller: string | undefined
  /** What the descriptor that came along is. */
  readonly kind: string
  readonly inode: bigint
}

/** A manager in this process that serves by itself, and a Workload API for the sidecar. */
async function world(
  t: Test,
): Promise<{ env: Record<string, string>; asked: Asked[]; closed: string[]; restart: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'sidecar-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const ca = await testAuthority('k8s.nsm')
  const workload = await workloadServer({
    svids: (call) => call.write(messageOf(ca.source('/ns/a/pod/client').current)),
  })
  t.teardown(() => workload.stop())
  const asked: Asked[] = []
  const closed: string[] = []
  const serving: Element = {
    name: 'serving',
    async request(ctx, req, next) {
      const conn = await next.request(ctx, req)
      if (conn.networkService === 'nowhere') throw new NsmError('NOT_FOUND', 'no such service')
      const mechanism = conn.mechanism ?? req.mechanismPreferences[0]
      const [, dev = '0', inode = '0'] =
        /^inode:\/\/(\d+)\/(\d+)$/.exec(mechanism?.parameters['inodeURL'] ?? '') ?? []
      const fd = await ctx.peer!.descriptors!.receive(BigInt(dev), BigInt(inode), ctx.signal)
      asked.push({ caller: ctx.peer?.spiffeId, kind: native.describe(fd).kind, inode: BigInt(inode) })
      native.close(fd)
      return { ...conn, mechanism, networkServiceEndpointName: 'server-1' }
    },
    async close(ctx, conn, next) {
      closed.push(conn.networkService)
      await next.close(ctx, conn)
    },
  }
  const url = `unix://${folder}/nsm.sock`
  const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })
  const start = async () => {
    const chain = serverChain({ name: 'nsmgr', tokens, elements: [serving] })
    const server = await startServer({
      listenOn: [url],
      source: ca.source('/ns/nsm-system/pod/nsmgr'),
      unix: { connectUnix, listenUnix },
      services: { networkService: chain.service, monitor: chain.monitor },
      log: silent,
    })
    return async () => {
      chain.close()
      await server.close(0)
    }
  }
  let stop = await start()
  t.teardown(async () => stop())
  const env = {
    SPIFFE_ENDPOINT_SOCKET: workload.address,
    NSM_NAME: 'client',
    NSM_CONNECT_TO: url,
    NSM_NETWORK_SERVICES: 'kernel://db/nsm-1?app=x,kernel://web/nsm-2',
    NSM_OPS_LISTEN_ON: '127.0.0.1:0',
    POD_NAME: 'client',
  }
  const restart = async (): Promise<void> => {
    await stop()
    stop = await start()
  }
  return { env, asked, closed, restart }
}

async function statusOf(address: unknown): Promise<SidecarStatus> {
  return (await (await fetch(`${String(address)}/status`)).json()) as SidecarStatus
}

t.test('connects, passes its own namespace, tells its status, heals, closes on SIGTERM', async (t) => {
  const { env, asked, closed, restart } = await world(t)
  const sidecar = startProcess(t, 'sidecar', env)
  await sidecar.said('all connections are up')
  const { address } = await sidecar.said('status')
  const own = statSync('/proc/self/ns/net', { bigint: true }).ino
  t.same(asked, [
    { caller: 'spiffe://k8s.nsm/ns/a/pod/client', kind: 'netns', inode: own },
    { caller: 'spiffe://k8s.nsm/ns/a/pod/client', kind: 'netns', inode: own },
  ])
  t.match(await statusOf(address), {
    name: 'client',
    spiffeId: 'spiffe://k8s.nsm/ns/a/pod/client',
    ready: true,
    connections: [
      {
        id: 'client-0',
        state: 'UP',
        interface: 'nsm-1',
        endpoint: 'server-1',
        labels: { app: 'x' },
        path: [
          { name: 'client', spiffeId: 'spiffe://k8s.nsm/ns/a/pod/client' },
          { name: 'nsmgr', spiffeId: 'spiffe://k8s.nsm/ns/nsm-system/pod/nsmgr' },
        ],
      },
      { id: 'client-1', state: 'UP', interface: 'nsm-2' },
    ],
  })
  t.match(await (await fetch(`${String(address)}/readyz`)).text(), '[+]client-0 ok\n[+]client-1 ok\nok\n')
  t.match(await (await fetch(`${String(address)}/metrics`)).text(), 'nsm_connections{state="up"} 2')

  await restart()
  await until('both are healed', async () => {
    const { connections } = await statusOf(address)
    return connections.every(({ state, heals }) => state === 'UP' && heals.count > 0)
  })
  t.equal(await sidecar.stop('SIGTERM'), 0)
  t.same(closed.toSorted(), ['db', 'web'])
})

t.test('without a manager it waits, says why, and can be stopped', async (t) => {
  const { env } = await world(t)
  const sidecar = startProcess(t, 'sidecar', { ...env, NSM_CONNECT_TO: 'unix:///nonexistent/nsm.sock' })
  const { address } = await sidecar.said('status')
  await sidecar.said('trying again')
  const ready = await fetch(`${String(address)}/readyz`)
  t.equal(ready.status, 503)
  t.match(await ready.text(), /\[-\]client-0 failed: db: last request failed: .*nonexistent/)
  t.equal(await sidecar.stop('SIGTERM'), 0)
})

t.test('killed and started again it goes on with its connections', async (t) => {
  const { env } = await world(t)
  const first = startProcess(t, 'sidecar', env)
  await first.said('all connections are up')
  await first.stop('SIGKILL')
  const second = startProcess(t, 'sidecar', env)
  const { address } = await second.said('status')
  const events = await fetch(`${String(address)}/events`, { headers: { 'last-event-id': '0' } })
  await second.said('all connections are up')
  const reader = events.body!.getReader()
  let text = ''
  while (!/"type":"resumed"[^]*"type":"established"/.test(text)) {
    const { value, done } = await reader.read()
    if (done) break
    text += Buffer.from(value).toString()
  }
  t.match(text, /"reason":"Resumed"/)
  await reader.cancel()
  t.equal(await second.stop('SIGTERM'), 0)
})

t.test(
  'it has started when the connection is up that is required, and its status is as described',
  async (t) => {
    const { env } = await world(t)
    const sidecar = startProcess(t, 'sidecar', {
      ...env,
      NSM_NETWORK_SERVICES: 'kernel://db/nsm-1,kernel://nowhere/nsm-2',
      NSM_REQUIRED: 'db',
    })
    const { address } = await sidecar.said('status')
    await until('it has started', async () => (await fetch(`${String(address)}/startupz`)).ok)
    t.equal((await fetch(`${String(address)}/readyz`)).status, 503)
    const text = await (await fetch(`${String(address)}/openapi.yaml`)).text()
    const document = parse(text) as { components: { schemas: Record<string, object> } }
    t.same(
      faults(document.components.schemas['SidecarStatus'] as never, await statusOf(address), document),
      [],
    )
    t.equal(await sidecar.stop('SIGTERM'), 0)
  },
)

t.test('wrong settings end it, with all reasons', async (t) => {
  const sidecar = startProcess(t, 'sidecar', { NSM_NETWORK_SERVICES: 'memif://x', NSM_DIAL_TIMEOUT: '5' })
  t.equal(await sidecar.exited, 1)
  t.match(
    sidecar.lines.at(-1)?.['err'],
    /SPIFFE_ENDPOINT_SOCKET is required.*NSM_DIAL_TIMEOUT.*must be kernel:\/\/ URLs; this sidecar has no memif/,
  )
})
