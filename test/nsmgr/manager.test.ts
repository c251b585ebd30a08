import type { Connection } from '@nsm/api/gen/connection.js'
import { MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { listenUnix } from '@nsm/native/unix-socket.js'
import { chain } from '@nsm/sdk/chain.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { serverChain, type ServerChain } from '@nsm/sdk/chains/server.js'
import { withTimeout } from '@nsm/sdk/ctx.js'
import { retry } from '@nsm/sdk/elements/retry.js'
import t from 'tap'
import { recording } from '../kit/elements.ts'
import { managerTokens, managerWorld, registerForwarder, type ManagerWorld } from '../kit/manager.ts'
import { ask, within } from '../kit/mesh.ts'
import { until } from '../kit/until.ts'

interface Forwarder extends ReturnType<typeof recording> {
  readonly server: ServerChain
  readonly listenOn: string
  readonly register: () => Promise<NetworkServiceEndpoint>
}

/** A forwarder that serves by itself. */
async function forwarder(w: ManagerWorld): Promise<Forwarder> {
  const seen = recording()
  const server = serverChain({ name: 'forwarder-1', tokens: managerTokens, elements: [seen.element] })
  const listenOn = `unix://${w.folder}/forwarder.sock`
  await w.serve('/ns/nsm-system/pod/forwarder-1', listenOn, {
    networkService: server.service,
    monitor: server.monitor,
  })
  return { ...seen, server, register: () => registerForwarder(w, listenOn), listenOn }
}

t.test(
  'the process carries a request to a forwarder of its node, and tells what becomes of it',
  async (t) => {
    const w = await managerWorld(t)
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
    const metrics = await (await fetch(`${ops}/metrics`)).text()
    t.match(metrics, 'nsm_request_total{operation="request",service="web",code="OK"} 1')
    t.match(metrics, /^nsm_nsmgr_unverified_netns_total 0$/m)
    t.equal((await fetch(`${ops}/readyz`)).status, 200)
    t.equal(await running.stop('SIGTERM'), 0)
  },
)

t.test(
  'a manager that is killed and comes back takes the connections over, under the same ids',
  async (t) => {
    const w = await managerWorld(t)
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
  const w = await managerWorld(t)
  await w.start()
  const client = clientChain({ name: 'client', dial: w.dialAs('/ns/a/pod/client'), url: w.tcp })
  await t.rejects(client.request(within(), ask()), { code: 'NOT_FOUND', message: /web/ })
  await w.stores.networkServices.register(
    within(),
    NetworkService.fromPartial({ name: 'web', payload: 'IP' }),
  )
  await t.rejects(client.request(within(), ask()), { code: 'UNAVAILABLE', message: /no forwarder/ })
})

t.test('it is ready for as long as its registry answers', async (t) => {
  const w = await managerWorld(t)
  await w.registry.close(0)
  const running = await w.start()
  const { ops } = (await running.said('listening')) as { ops: string }
  const readiness = async (): Promise<string> => {
    const answer = await fetch(`${ops}/readyz`)
    return `${answer.status} ${await answer.text()}`
  }
  t.match(await readiness(), /^503 \[-\]registry failed: .*\n\[\+\]identity ok\n/)
  t.equal((await fetch(`${ops}/livez`)).status, 200, 'it is not to be restarted for that')
  await w.serveRegistry()
  await until('it is ready', async () => (await readiness()).startsWith('200'))
})

t.test(
  'an endpoint may name its socket by path in a shared folder, and is passed on as a descriptor',
  async (t) => {
    const w = await managerWorld(t)
    await w.start({ NSM_SHARED_SOCKET_FOLDERS: w.folder })
    const path = `${w.folder}/nse.sock`
    const listener = await listenUnix(path, {}, (socket) => socket.destroy())
    t.teardown(() => listener.close())
    const nse = await w.dialAs('/ns/a/pod/nse')(within(), w.socket)
    const item = NetworkServiceEndpoint.fromPartial({
      name: 'nse',
      networkServiceNames: ['web'],
      url: `unix://${path}`,
    })
    t.equal((await nse.networkServiceEndpoints.register(within(), item)).url, `unix://${path}`)
    const query = {
      networkServiceEndpoint: NetworkServiceEndpoint.fromPartial({ name: 'nse' }),
      watch: false,
    }
    const other = await w.dialAs('/ns/nsm-system/pod/forwarder-1')(within(), w.socket)
    for await (const { networkServiceEndpoint } of other.networkServiceEndpoints.find(within(), query)) {
      const url = networkServiceEndpoint?.url ?? ''
      const [, dev, inode] = /^inode:\/\/(\d+)\/(\d+)$/.exec(url) ?? []
      const signal = AbortSignal.timeout(5_000)
      const fd = await other.peer.descriptors?.receive(BigInt(dev ?? 0), BigInt(inode ?? 0), signal)
      t.ok(fd)
      native.close(fd ?? -1)
    }
    await t.rejects(
      nse.networkServiceEndpoints.register(within(), { ...item, url: 'unix:///run/nse.sock' }),
      {
        code: 'PERMISSION_DENIED',
      },
    )
  },
)
