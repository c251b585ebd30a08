import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  NetworkServiceEndpoint,
  type NetworkServiceEndpointQuery,
  type NetworkServiceEndpointResponse,
} from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { registryServer } from '@nsm/sdk/chains/registry-server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { silent } from '@nsm/sdk/log.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import { grpcMetadataClient } from '@nsm/sdk/registry/grpc-metadata.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import { sendFdClient } from '@nsm/sdk/registry/send-fd.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import { startServer, type RunningServer, type ServerOptions } from '@nsm/sdk/transport/server.js'
import type { Test } from 'tap'
import { testAuthority, type TestAuthority } from './identity.ts'
import { within } from './mesh.ts'
import { freePort, startProcess, type RunningProcess } from './running-process.ts'
import { messageOf, workloadServer } from './workload-server.ts'

const unix = { connectUnix, listenUnix }
/** Of everybody around the manager. */
export const managerTokens: TokenGenerator = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })

/** A registry in this process, a manager as a process of its own, and identities for all. */
export interface ManagerWorld {
  readonly folder: string
  readonly ca: TestAuthority
  /** Serves as the one with this path of a SPIFFE ID. */
  serve(path: string, listenOn: string, services: ServerOptions['services']): Promise<RunningServer>
  /** A dialler, with a pool of sessions of its own, as the one with this path of a SPIFFE ID. */
  readonly dialAs: (path: string) => Dial
  readonly stores: Registries
  readonly registry: RunningServer
  /** Starts the registry's server again at the same address, after it was closed. */
  serveRegistry(): Promise<RunningServer>
  /** URLs of the manager. */
  readonly socket: string
  readonly tcp: string
  /** Starts the manager, and waits until it says that it is ready. */
  start(env?: Readonly<Record<string, string>>): Promise<RunningProcess>
}

export async function managerWorld(t: Test): Promise<ManagerWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'nsmgr-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const ca = await testAuthority('k8s.nsm')
  const workload = await workloadServer({
    svids: (call) => call.write(messageOf(ca.source('/ns/nsm-system/pod/nsmgr').current)),
  })
  t.teardown(() => workload.stop())
  const serve: ManagerWorld['serve'] = async (path, listenOn, services) => {
    const source = ca.source(path)
    const server = await startServer({ listenOn: [listenOn], source, unix, services, log: silent })
    t.teardown(() => server.close(0))
    return server
  }
  const stores = {
    networkServices: memoryRegistry(networkServiceKind),
    networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
  }
  const registryUrl = `tcp://127.0.0.1:${await freePort()}`
  const serveRegistry = (): Promise<RunningServer> =>
    serve('/ns/nsm-system/pod/registry', registryUrl, registryServer({ tokens: managerTokens, stores }))
  const tcp = `tcp://127.0.0.1:${await freePort()}`
  const socket = `unix://${folder}/nsm.sock`
  const common = {
    SPIFFE_ENDPOINT_SOCKET: workload.address,
    NSM_NAME: 'nsmgr-1',
    NSM_LISTEN_ON: `${socket},${tcp}`,
    NSM_REGISTRY_URL: registryUrl,
    NSM_OPS_LISTEN_ON: '127.0.0.1:0',
    NODE_NAME: 'node-1',
  }
  return {
    folder,
    ca,
    serve,
    dialAs(path) {
      const source = ca.source(path)
      const dialled = dialer({ source, tokens: managerTokens, unix, dialTimeoutMs: 5_000 })
      t.teardown(() => dialled.close())
      return dialled.dial
    },
    stores,
    registry: await serveRegistry(),
    serveRegistry,
    socket,
    tcp,
    async start(env = {}) {
      const running = startProcess(t, 'nsmgr', { ...common, ...env })
      await running.said('ready')
      return running
    },
  }
}

/** Registers a forwarder that listens on a unix socket, as forwarders do: through the manager, with the socket's descriptor. */
export async function registerForwarder(
  { dialAs, socket }: ManagerWorld,
  listenOn: string,
  name = 'forwarder-1',
): Promise<NetworkServiceEndpoint> {
  const remote = await dialAs(`/ns/nsm-system/pod/${name}`)(within(), socket)
  const endpoints = registryChain<
    NetworkServiceEndpoint,
    NetworkServiceEndpointQuery,
    NetworkServiceEndpointResponse
  >([grpcMetadataClient(), sendFdClient(native, remote.peer)], remote.networkServiceEndpoints)
  return endpoints.register(
    within(),
    NetworkServiceEndpoint.fromPartial({
      name,
      networkServiceNames: ['forwarder'],
      networkServiceLabels: { forwarder: { labels: { p2p: 'true' } } },
      url: listenOn,
    }),
  )
}
