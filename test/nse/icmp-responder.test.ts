import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { NetworkServiceEndpointQuery, NetworkServiceQuery } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { registryNsmgr } from '@nsm/sdk/chains/registry-nsmgr.js'
import { registryServer } from '@nsm/sdk/chains/registry-server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { silent } from '@nsm/sdk/log.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import { recvFdServer } from '@nsm/sdk/registry/recv-fd.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import t, { type Test } from 'tap'
import { testAuthority } from '../kit/identity.js'
import { withoutUnknown } from '../kit/messages.js'
import { within } from '../kit/mesh.js'
import { startProcess } from '../kit/running-process.js'
import { newNetns } from '../kit/transport.js'
import { until } from '../kit/until.js'
import { messageOf, workloadServer } from '../kit/workload-server.js'

const unix = { connectUnix, listenUnix }
const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })
const publicUrl = 'tcp://192.0.2.1:5001'

/** Registry and manager's registry side in this process; the endpoint is a process of its own. */
async function world(t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'nse-test-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const ca = await testAuthority('k8s.nsm')
  const workload = await workloadServer({
    svids: (call) => call.write(messageOf(ca.source('/ns/a/pod/nse').current)),
  })
  t.teardown(() => workload.stop())
  const dialAs = (path: string, source = ca.source(path)) => {
    const dialled = dialer({ source, tokens, unix, dialTimeoutMs: 5_000 })
    t.teardown(() => dialled.close())
    return dialled.dial
  }
  const stores = {
    networkServices: memoryRegistry(networkServiceKind),
    networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
  }
  const registry = await startServer({
    listenOn: ['tcp://127.0.0.1:0'],
    source: ca.source('/registry'),
    services: registryServer({ tokens, stores }),
    log: silent,
  })
  t.teardown(() => registry.close(0))
  const socket = `unix://${folder}/nsm.sock`
  const startManager = async () => {
    const manager = ca.source('/nsmgr')
    const sockets = recvFdServer({ native })
    t.teardown(() => sockets.close())
    const nsmgr = registryNsmgr({
      tokens,
      dial: dialAs('/nsmgr', manager),
      registryUrl: registry.urls[0] ?? '',
      publicUrl,
      clientInfo: {},
      descriptors: [sockets],
    })
    const server = await startServer({
      listenOn: [socket],
      source: manager,
      unix,
      services: nsmgr.served,
      log: silent,
    })
    t.teardown(() => server.close(0))
    return nsmgr
  }
  const start = (more: Record<string, string> = {}) =>
    startProcess(t, 'nse', {
      SPIFFE_ENDPOINT_SOCKET: workload.address,
      NSM_CONNECT_TO: socket,
      NSM_NAME: 'nse-1',
      NSM_BASE_DIR: folder,
      NSM_OPS_LISTEN_ON: '127.0.0.1:0',
      NSM_CIDR_PREFIX: '172.16.1.100/31,2001:db8::/116',
      ...more,
    })
  return { folder, dialAs, stores, startManager, start }
}

type World = Awaited<ReturnType<typeof world>>

async function registered({ stores }: World) {
  const services: string[] = []
  for await (const { networkService } of stores.networkServices.find(
    within(),
    NetworkServiceQuery.fromPartial({}),
  )) {
    if (networkService !== undefined) services.push(`${networkService.name} ${networkService.payload}`)
  }
  const endpoints = []
  for await (const { networkServiceEndpoint } of stores.networkServiceEndpoints.find(
    within(),
    NetworkServiceEndpointQuery.fromPartial({}),
  )) {
    if (networkServiceEndpoint !== undefined) endpoints.push(networkServiceEndpoint)
  }
  return { services, endpoints }
}

const ask = (connection: Partial<Connection> = { id: 'c-0', networkService: 'icmp-responder' }) =>
  NetworkServiceRequest.fromPartial({
    connection,
    mechanismPreferences: [
      { cls: 'LOCAL', type: 'MEMIF' },
      { cls: 'LOCAL', type: 'KERNEL' },
    ],
  })

t.test('the process registers itself and gives clients what it is configured with', async (t) => {
  const w = await world(t)
  const nsmgr = await w.startManager()
  await writeFile(
    join(w.folder, 'pbr.yaml'),
    '- proto: 6\n  dstport: 6666\n  routes: [{prefix: 172.16.3.0/24}]\n',
  )
  const running = w.start({
    NSM_SERVICE_NAMES: 'icmp-responder,other',
    NSM_PAYLOAD: 'IP',
    NSM_LABELS: 'app:x',
    NODE_NAME: 'node-1',
    NSM_DNS_CONFIGS: '[{"dns_server_ips":["172.16.1.100"],"search_domains":["my.coredns.service"]}]',
    NSM_PBR_CONFIG_PATH: join(w.folder, 'pbr.yaml'),
  })
  const { ops, url } = (await running.said('listening')) as { ops: string; url: string }
  await running.said('ready')
  t.equal((await fetch(`${ops}/readyz`)).status, 200)
  const { services, endpoints } = await registered(w)
  t.same(services, ['icmp-responder IP', 'other IP'])
  const labels = { labels: { nodeName: 'node-1', app: 'x' } }
  t.match(endpoints, [
    {
      name: 'nse-1',
      url: publicUrl,
      networkServiceNames: ['icmp-responder', 'other'],
      networkServiceLabels: { 'icmp-responder': labels, other: labels },
    },
  ])

  let local = ''
  for await (const { networkServiceEndpoint } of nsmgr.local.networkServiceEndpoints.find(
    within(),
    NetworkServiceEndpointQuery.fromPartial({}),
  )) {
    local = networkServiceEndpoint?.url ?? ''
  }
  t.match(local, /^unix:\/\/\/proc\/\d+\/fd\/\d+$/, 'the manager holds its socket')
  const dial = w.dialAs('/ns/nsm-system/pod/forwarder')
  const client = clientChain({ name: 'forwarder', dial, url: local, authorize: true })
  t.teardown(() => client.stop())
  const conn = await client.request(within(), ask())
  const netns = await stat('/proc/self/ns/net', { bigint: true })
  const { dev, ino } = netns
  t.match(conn.mechanism, {
    type: 'KERNEL',
    parameters: { name: /^icmp-respo-\w{4}$/, inodeURL: `inode://${dev}/${ino}` },
  })
  t.same(
    conn.path?.pathSegments.map(({ name }) => name),
    ['forwarder', 'nse-1'],
  )
  t.match(withoutUnknown(conn.context), {
    dnsContext: { configs: [{ dnsServerIps: ['172.16.1.100'], searchDomains: ['my.coredns.service'] }] },
    ipContext: {
      srcIpAddrs: ['172.16.1.101/32', '2001:db8::1/128'],
      dstIpAddrs: ['172.16.1.100/32', '2001:db8::/128'],
      srcRoutes: [{ prefix: '172.16.1.100/32', nextHop: '' }, { prefix: '2001:db8::/128' }],
      policies: [{ proto: '6', dstPort: '6666' }],
    },
  })
  const again = await client.request(within(), ask(conn))
  t.same(again.context?.ipContext, conn.context?.ipContext)
  await t.rejects(client.request(within(), ask({ id: 'c-1', networkService: 'icmp-responder' })), {
    code: 'RESOURCE_EXHAUSTED',
  })
  t.match(await (await fetch(`${ops}/metrics`)).text(), 'nsm_connections{state="up"} 1')
  await client.close(within(), again)
  t.match((await client.request(within(), ask({ id: 'c-1', networkService: 'other' }))).context?.ipContext, {
    srcIpAddrs: ['172.16.1.101/32', '2001:db8::1/128'],
  })

  t.equal(await running.stop('SIGTERM'), 0)
  t.notOk(existsSync(url.slice('unix://'.length)))
  t.same(await readdir(w.folder), ['nsm.sock', 'pbr.yaml'])
  t.equal((await registered(w)).endpoints.length, 1, 'it stays registered until it expires')
})

t.test("the client's network namespace is not kept, whoever passes it", async (t) => {
  const w = await world(t)
  await w.startManager()
  const running = w.start()
  await running.said('ready')
  const { url } = (await running.said('listening')) as { url: string }
  const netns = await newNetns(t)
  const client = clientChain({
    name: 'forwarder',
    dial: w.dialAs('/forwarder'),
    url,
    elements: [sendFdClient(native)],
  })
  t.teardown(() => client.stop())
  const parameters = { inodeURL: netns.fileUrl }
  const mechanismPreferences = [{ cls: 'LOCAL', type: 'KERNEL', parameters }]
  await client.request(within(), { ...ask(), mechanismPreferences })
  const folder = `/proc/${running.child.pid}/fd`
  const open = await Promise.all(
    (await readdir(folder)).map(async (fd) => readlink(join(folder, fd)).catch(() => '')),
  )
  t.ok(open.some((file) => file.startsWith('socket:')))
  t.notOk(open.includes(`net:[${native.describe(netns.fd).inode}]`), open.join())
})

t.test(
  'killed and started again: the same endpoint, and the same addresses for who comes back',
  async (t) => {
    const w = await world(t)
    await w.startManager()
    const pools = { NSM_CIDR_PREFIX: '10.0.0.0/29' }
    const first = w.start(pools)
    const at = async (running: typeof first) => {
      await running.said('ready')
      const { url } = (await running.said('listening')) as { url: string }
      const chain = clientChain({ name: 'forwarder', dial: w.dialAs('/forwarder'), url, authorize: true })
      t.teardown(() => chain.stop())
      return chain
    }
    const before = await at(first)
    await before.request(within(), ask({ id: 'c-0', networkService: 'icmp-responder' }))
    const conn = await before.request(within(), ask({ id: 'c-1', networkService: 'icmp-responder' }))
    const [registration] = (await registered(w)).endpoints
    await first.stop('SIGKILL')

    const after = await at(w.start({ ...pools, NSM_REGISTER_SERVICE: 'false' }))
    const back = await after.request(within(), ask(conn))
    t.same(back.context?.ipContext?.srcIpAddrs, ['10.0.0.3/32'])
    t.same(back.mechanism?.parameters['name'], conn.mechanism?.parameters['name'])
    const { endpoints } = await registered(w)
    t.equal(endpoints.length, 1)
    t.same(endpoints[0]?.initialRegistrationTime, registration?.initialRegistrationTime)
  },
)

t.test('it unregisters itself when told to, and leaves by itself when nobody needs it', async (t) => {
  const w = await world(t)
  await w.startManager()
  const running = w.start({
    NSM_UNREGISTER_ITSELF: 'true',
    NSM_REGISTER_SERVICE: 'false',
    NSM_IDLE_TIMEOUT: '200ms',
  })
  await running.said('registered')
  t.same((await registered(w)).services, [])
  t.equal((await running.said('stopping'))['reason'], 'work done')
  t.equal(await running.exited, 0)
  t.same((await registered(w)).endpoints, [])
})

t.test('without a manager it says so, keeps trying, and can be stopped', async (t) => {
  const w = await world(t)
  const running = w.start()
  const { ops } = (await running.said('listening')) as { ops: string }
  const answer = await fetch(`${ops}/readyz`)
  t.equal(answer.status, 503)
  t.match(await answer.text(), /registration failed: unix:\/\/.* has not taken it yet/)
  t.equal(await running.stop('SIGTERM'), 0)

  const late = w.start()
  await late.said('listening')
  await w.startManager()
  await late.said('ready')
  await until('it is registered', () => late.lines.some(({ msg }) => msg === 'registered'))
})
