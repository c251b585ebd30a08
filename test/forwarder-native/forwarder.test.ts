import { mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { connectionOf, type Element } from '@nsm/sdk/chain.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { registryNsmgr } from '@nsm/sdk/chains/registry-nsmgr.js'
import { registryServer } from '@nsm/sdk/chains/registry-server.js'
import { serverChain } from '@nsm/sdk/chains/server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background } from '@nsm/sdk/ctx.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { kernelServer } from '@nsm/sdk/elements/kernel-server.js'
import { mechanisms } from '@nsm/sdk/elements/mechanisms.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import { silent } from '@nsm/sdk/log.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import { recvFdServer } from '@nsm/sdk/registry/recv-fd.js'
import { sendFdServer as sendSockets } from '@nsm/sdk/registry/send-fd.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { startServer, type ServerOptions } from '@nsm/sdk/transport/server.js'
import t, { type Test } from 'tap'
import { testAuthority, type TestSource } from '../kit/identity.ts'
import { within } from '../kit/mesh.ts'
import { inNetns, netnses, occupant, pingFrom } from '../kit/netns.ts'
import { startProcess } from '../kit/running-process.ts'
import { until } from '../kit/until.ts'
import { messageOf, workloadServer } from '../kit/workload-server.ts'

const unix = { connectUnix, listenUnix }
const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })

/** The registry, the manager's registry side and identities, in this process; the forwarder is one of its own. */
async function world(t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'forwarder-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const ca = await testAuthority('k8s.nsm')
  const workload = await workloadServer({
    svids: (call) => call.write(messageOf(ca.source('/ns/nsm-system/pod/forwarder').current)),
  })
  t.teardown(() => workload.stop())
  const sources = new Map<string, TestSource>()
  const sourceOf = (path: string): TestSource => {
    const source = sources.get(path) ?? ca.source(path)
    sources.set(path, source)
    return source
  }
  const dialAs = (path: string) => {
    const dialled = dialer({ source: sourceOf(path), tokens, unix, dialTimeoutMs: 5_000 })
    t.teardown(() => dialled.close())
    return dialled.dial
  }
  const serve = async (path: string, listenOn: string, services: ServerOptions['services']) => {
    const server = await startServer({
      listenOn: [listenOn],
      source: sourceOf(path),
      unix,
      services,
      log: silent,
    })
    t.teardown(() => server.close(0))
    return server.urls[0] ?? ''
  }
  const stores = {
    networkServices: memoryRegistry(networkServiceKind),
    networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
  }
  const registryUrl = await serve('/registry', 'tcp://127.0.0.1:0', registryServer({ tokens, stores }))
  const sockets = recvFdServer({ native })
  t.teardown(() => sockets.close())
  const nsmgr = registryNsmgr({
    tokens,
    dial: dialAs('/nsmgr'),
    registryUrl,
    publicUrl: 'tcp://192.0.2.1:5001',
    clientInfo: {},
    descriptors: [sockets, sendSockets({ native, fdOf: (url) => sockets.fdOf(url) })],
  })
  const socket = await serve('/nsmgr', `unix://${folder}/nsm.sock`, nsmgr.served)
  const listenOn = `unix://${folder}/forwarder.sock`
  const start = async () => {
    const running = startProcess(t, 'forwarder-native', {
      SPIFFE_ENDPOINT_SOCKET: workload.address,
      NSM_NAME: 'forwarder-1',
      NSM_CONNECT_TO: socket,
      NSM_LISTEN_ON: listenOn,
      NSM_OPS_LISTEN_ON: '127.0.0.1:0',
      NSM_LEAVE_FILE: `${folder}/leave`,
    })
    await running.said('ready')
    return running
  }
  return { folder, dialAs, serve, stores, socket, listenOn, start }
}

type World = Awaited<ReturnType<typeof world>>

const addresses: Element = {
  name: 'addresses',
  request: async (_ctx, req) => ({
    ...connectionOf(req),
    context: Connection.fromPartial({
      context: {
        ipContext: {
          srcIpAddrs: ['172.16.1.100/32'],
          dstIpAddrs: ['172.16.1.101/32'],
          srcRoutes: [{ prefix: '172.16.1.101/32' }],
          dstRoutes: [{ prefix: '172.16.1.100/32' }],
        },
      },
    }).context,
  }),
}

/** An endpoint whose interfaces belong into `netnsFd`, registered with the descriptor of its socket. */
async function endpoint(
  t: Test,
  { folder, serve, dialAs, stores, socket }: World,
  netnsFd: number,
): Promise<void> {
  const server = serverChain({
    name: 'nse-1',
    tokens,
    elements: [
      sendFdServer(native),
      mechanisms({ KERNEL: kernelServer({ netnsUrl: `file:///proc/self/fd/${netnsFd}` }) }),
      addresses,
    ],
  })
  t.teardown(() => server.close())
  const url = await serve('/ns/a/pod/nse', `unix://${folder}/nse.sock`, {
    networkService: server.service,
    monitor: server.monitor,
  })
  const watches = new AbortController()
  t.teardown(() => watches.abort())
  await stores.networkServices.register(within(), NetworkService.fromPartial({ name: 'web', payload: 'IP' }))
  const options = { dial: dialAs('/ns/a/pod/nse'), url: socket, signal: watches.signal, descriptors: native }
  await registryClient(options).networkServiceEndpoints.register(
    within(),
    NetworkServiceEndpoint.fromPartial({ name: 'nse-1', url, networkServiceNames: ['web'] }),
  )
}

/** The manager of the client in `netnsFd`, as the forwarder sees it; `path`: who it says to be. */
function manager(t: Test, { dialAs, listenOn }: World, netnsFd: number, path = '/nsmgr') {
  const client = clientChain({
    name: 'nsmgr-1',
    dial: dialAs(path),
    url: listenOn,
    elements: [kernelClient({ netnsUrl: `file:///proc/self/fd/${netnsFd}` }), sendFdClient(native)],
  })
  t.teardown(() => client.stop())
  return client
}

const kernel = { cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'nsm-1' } }
const ask = () =>
  NetworkServiceRequest.fromPartial({
    connection: {
      id: 'c-0',
      networkService: 'web',
      path: { index: 0, pathSegments: [{ name: 'nsmgr-1', id: 'c-0' }] },
    },
    mechanismPreferences: [kernel],
  })

async function heldNamespaces(pid: number | undefined): Promise<number> {
  const fds = await readdir(`/proc/${pid}/fd`)
  const links = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')))
  return links.filter((link) => link.startsWith('net:')).length
}

async function linkIn(netnsFd: number): Promise<number | undefined> {
  return (await native.read(netnsFd, ['links'])).links.find(({ name }) => name === 'nsm-1')?.index
}

t.test(
  'the process registers, wires two pods, survives its own death without loss, and cleans up',
  async (t) => {
    const w = await world(t)
    const [clientNetns = -1, endpointNetns = -1] = await netnses(t, 2)
    await endpoint(t, w, endpointNetns)
    const first = await w.start()
    const stranger = manager(t, w, clientNetns, '/ns/a/pod/stranger')
    await t.rejects(stranger.request(within(20_000), ask()), {
      code: 'PERMISSION_DENIED',
      message: /not the caller's own network namespace/,
    })
    const service = manager(t, w, clientNetns)
    const conn = await service.request(within(20_000), ask())
    t.same(
      conn.path?.pathSegments.map(({ name }) => name),
      ['nsmgr-1', 'forwarder-1', 'nse-1'],
    )
    t.equal(conn.mechanism?.parameters['name'], 'nsm-1')
    t.match(await inNetns(clientNetns, 'ip', 'route'), /^172\.16\.1\.101 dev nsm-1 *$/m)
    t.type(await pingFrom(clientNetns, '172.16.1.100', '172.16.1.101', 5_000), 'number')
    await until(
      'the forwarder holds nothing of the pods',
      async () => (await heldNamespaces(first.child.pid)) === 0,
    )

    const before = await linkIn(clientNetns)
    await first.stop('SIGKILL')
    t.type(await pingFrom(clientNetns, '172.16.1.100', '172.16.1.101', 5_000), 'number')
    const second = await w.start()
    const refreshed = await service.request(within(20_000), { ...ask(), connection: conn })
    t.equal(await linkIn(clientNetns), before, 'the link was adopted')

    await service.close(within(), refreshed)
    t.equal(await linkIn(clientNetns), undefined)
    t.equal((await native.read(endpointNetns, ['links'])).links.length, 1)
    t.equal(await second.stop('SIGTERM'), 0)
    const query = {
      networkServiceEndpoint: NetworkServiceEndpoint.fromPartial({ name: 'forwarder-1' }),
      watch: false,
    }
    const left = []
    for await (const found of w.stores.networkServiceEndpoints.find(background(), query)) left.push(found)
    t.same(left, [])
  },
)

t.test(
  'a forwarder that leaves takes its interfaces with it, also those of before its restart',
  async (t) => {
    const w = await world(t)
    const [clientNetns = -1, endpointNetns = -1] = await netnses(t, 2)
    occupant(t, clientNetns)
    await endpoint(t, w, endpointNetns)
    const service = manager(t, w, clientNetns)
    const ofClient = (id: string, name: string) =>
      NetworkServiceRequest.fromPartial({
        connection: {
          id,
          networkService: 'web',
          path: { index: 0, pathSegments: [{ name: 'nsmgr-1', id }] },
        },
        mechanismPreferences: [{ ...kernel, parameters: { name } }],
      })
    const first = await w.start()
    await service.request(within(20_000), ofClient('c-0', 'nsm-1'))
    await first.stop('SIGKILL')
    const second = await w.start()
    await service.request(within(20_000), ofClient('c-1', 'nsm-2'))
    const names = async () => (await native.read(clientNetns, ['links'])).links.map(({ name }) => name).sort()
    t.same(await names(), ['lo', 'nsm-1', 'nsm-2'])

    await writeFile(`${w.folder}/leave`, 'true')
    await second.said('left')
    t.same(await names(), ['lo'])
    t.equal((await native.read(endpointNetns, ['links'])).links.length, 1)
    await t.rejects(service.request(within(20_000), ofClient('c-2', 'nsm-3')), {
      message: /is being removed/,
    })
    t.equal(await second.stop('SIGTERM'), 0)
  },
)
