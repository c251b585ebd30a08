import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Connection } from '@nsm/api/gen/connection.js'
import { MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import {
  NetworkService,
  NetworkServiceEndpoint,
  type NetworkServiceEndpointQuery,
  type NetworkServiceEndpointResponse,
} from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { chain } from '@nsm/sdk/chain.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { serverChain } from '@nsm/sdk/chains/server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { withTimeout } from '@nsm/sdk/ctx.js'
import { retry } from '@nsm/sdk/elements/retry.js'
import { silent } from '@nsm/sdk/log.js'
import { sendFdClient } from '@nsm/sdk/registry/send-fd.js'
import { registryServer } from '@nsm/sdk/chains/registry-server.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { grpcMetadataClient } from '@nsm/sdk/registry/grpc-metadata.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { startServer, type ServerOptions } from '@nsm/sdk/transport/server.js'
import t, { type Test } from 'tap'
import { recording } from '../kit/elements.ts'
import { testAuthority } from '../kit/identity.ts'
import { ask, within } from '../kit/mesh.ts'
import { freePort, startProcess } from '../kit/running-process.ts'
import { messageOf, workloadServer } from '../kit/workload-server.ts'
import { until } from '../kit/until.ts'

const unix = { connectUnix, listenUnix }
const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })

/** A registry in this process, a manager as a process of its own, and identities for all. */
async function world(t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'nsmgr-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const ca = await testAuthority('k8s.nsm')
  const workload = await workloadServer({
    svids: (call) => call.write(messageOf(ca.source('/ns/nsm-system/pod/nsmgr').current)),
  })
  t.teardown(() => workload.stop())

  const serve = async (path: string, listenOn: string, services: ServerOptions['services']) => {
    const server = await startServer({
      listenOn: [listenOn],
      source: ca.source(path),
      unix,
      services,
      log: silent,
    })
    t.teardown(() => server.close(0))
    return server
  }
  const dialAs = (path: string) => {
    const dialled = dialer({ source: ca.source(path), tokens, unix, dialTimeoutMs: 5_000 })
    t.teardown(() => dialled.close())
    return dialled.dial
  }
  const stores = {
    networkServices: memoryRegistry(networkServiceKind),
    networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
  }
  const registry = await serve('/registry', 'tcp://127.0.0.1:0', registryServer({ tokens, stores }))
  const tcp = `tcp://127.0.0.1:${await freePort()}`
  const socket = `unix://${folder}/nsm.sock`
  const env = {
    SPIFFE_ENDPOINT_SOCKET: workload.address,
    NSM_NAME: 'nsmgr-1',
    NSM_LISTEN_ON: `${socket},${tcp}`,
    NSM_REGISTRY_URL: registry.urls[0] ?? '',
    NSM_OPS_LISTEN_ON: '127.0.0.1:0',
    NODE_NAME: 'node-1',
  }
  const start = async () => {
    const running = startProcess(t, 'nsmgr', env)
    await running.said('ready')
    return running
  }
  return { folder, ca, serve, dialAs, stores, socket, tcp, start }
}

type World = Awaited<ReturnType<typeof world>>

/** A forwarder that serves by itself: registered through the manager, with the descriptor of its socket. */
async function forwarder({ folder, dialAs, serve, socket }: World) {
  const seen = recording()
  const server = serverChain({ name: 'forwarder-1', tokens, elements: [seen.element] })
  const listenOn = `unix://${folder}/forwarder.sock`
  await serve('/ns/nsm-system/pod/forwarder', listenOn, {
    networkService: server.service,
    monitor: server.monitor,
  })
  const register = async () => {
    const remote = await dialAs('/ns/nsm-system/pod/forwarder')(within(), socket)
    const endpoints = registryChain<
      NetworkServiceEndpoint,
      NetworkServiceEndpointQuery,
      NetworkServiceEndpointResponse
    >([grpcMetadataClient(), sendFdClient(native, remote.peer)], remote.networkServiceEndpoints)
    return endpoints.register(
      within(),
      NetworkServiceEndpoint.fromPartial({
        name: 'forwarder-1',
        networkServiceNames: ['forwarder'],
        networkServiceLabels: { forwarder: { labels: { p2p: 'true' } } },
        url: listenOn,
      }),
    )
  }
  return { ...seen, server, register, listenOn }
}

t.test(
  'the process carries a request to a forwarder of its node, and tells what becomes of it',
  async (t) => {
    const w = await world(t)
    const running = await w.start()
    await w.stores.networkServices.register(
      within(),
      NetworkService.fromPartial({ name: 'web', payload: 'IP' }),
    )
    const fwd = await forwarder(w)
    const registered = await fwd.register()
    t.equal(registered.url, fwd.listenOn, 'the forwarder sees its own URL')
    t.match(registered.networkServiceLabels['forwarder']?.labels, { p2p: 'true', nodeName: 'node-1' })

    const client = clientChain({
      name: 'client',
      dial: w.dialAs('/ns/a/pod/client'),
      url: w.socket,
      authorize: true,
    })
    const service = chain([retry()], client)
    const conn = await service.request(within(), ask())
    t.same(
      conn.path?.pathSegments.map(({ name }) => name),
      ['client', 'nsmgr-1', 'forwarder-1'],
    )
    t.equal(fwd.requests[0]?.labels['nodeName'], 'node-1')

    const monitor = await w.dialAs('/ns/a/pod/client')(within(), w.socket)
    const states: (number | undefined)[] = []
    const watching = withTimeout(within(), 10_000, async (ctx) => {
      for await (const { connections } of monitor.monitor(ctx, MonitorScopeSelector.fromPartial({}))) {
        states.push(...Object.values(connections).map(({ state }) => state))
        if (states.length >= 2) return
      }
    })
    await until('the state is told', () => states.length === 1)
    fwd.server.close()
    await watching
    t.same(states, [0, 1], 'UP, and DOWN when the forwarder’s stream ends')

    await service.close(within(), conn)
    t.equal(fwd.closes.length, 1)
    t.ok(running.lines.some((line) => line['msg'] === 'request' && line['network_service'] === 'web'))
    const { ops } = (await running.said('listening')) as { ops: string }
    t.match(
      await (await fetch(`${ops}/metrics`)).text(),
      'nsm_request_total{operation="request",service="web",code="OK"} 1',
    )
    t.equal((await fetch(`${ops}/readyz`)).status, 200)
    t.equal(await running.stop('SIGTERM'), 0)
  },
)

t.test(
  'a manager that is killed and comes back takes the connections over, under the same ids',
  async (t) => {
    const w = await world(t)
    const first = await w.start()
    await w.stores.networkServices.register(
      within(),
      NetworkService.fromPartial({ name: 'web', payload: 'IP' }),
    )
    const fwd = await forwarder(w)
    await fwd.register()
    const client = clientChain({
      name: 'client',
      dial: w.dialAs('/ns/a/pod/client'),
      url: w.socket,
      heal: { liveness: async () => true },
    })
    t.teardown(() => client.stop())
    const conn = await client.request(within(), ask())
    await first.stop('SIGKILL')
    await w.start()
    await fwd.register()
    const before = fwd.requests.length
    await until('it is asked again', () => fwd.requests.length > before)
    const ids = (one: Connection | undefined) => one?.path?.pathSegments.map(({ id }) => id)
    t.same(ids(fwd.requests.at(-1)), ids(conn))
    t.equal(fwd.closes.length, 0)
    await client.close(within(), conn)
  },
)

t.test('without a service, or a forwarder, it says which is missing', async (t) => {
  const w = await world(t)
  await w.start()
  const client = clientChain({ name: 'client', dial: w.dialAs('/ns/a/pod/client'), url: w.tcp })
  await t.rejects(client.request(within(), ask()), { code: 'NOT_FOUND', message: /web/ })
  await w.stores.networkServices.register(
    within(),
    NetworkService.fromPartial({ name: 'web', payload: 'IP' }),
  )
  await t.rejects(client.request(within(), ask()), { code: 'UNAVAILABLE', message: /no forwarder/ })
})
