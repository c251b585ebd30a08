import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startIcmpResponder } from '@nsm/nse/icmp-responder.js'
import { icmpResponderConfig } from '@nsm/nse/config.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { managerConfig } from '@nsm/nsmgr/config.js'
import { startManager } from '@nsm/nsmgr/manager.js'
import { registryConfig } from '@nsm/registry/config.js'
import { startRegistry } from '@nsm/registry/registry.js'
import type { NetworkService } from '@nsm/sdk/chain.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { lookupRegistries } from '@nsm/sdk/chains/remote-registries.js'
import { serverChain } from '@nsm/sdk/chains/server.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background } from '@nsm/sdk/ctx.js'
import { connectTo } from '@nsm/sdk/elements/connect-to.js'
import { discover } from '@nsm/sdk/elements/discover.js'
import { recvFdServer } from '@nsm/sdk/elements/recv-fd-server.js'
import { roundRobin } from '@nsm/sdk/elements/round-robin.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import { silent } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer, type Dialer } from '@nsm/sdk/transport/client.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { startAuthority } from '@nsm/spiffe/authority/authority.js'
import type { X509Source } from '@nsm/spiffe/svid.js'

/** A whole control plane in this process, over real sockets and mutual TLS; nothing is wired. */
export interface OneProcess {
  /** A client with a session pool of its own. */
  client(name: string): Promise<{ readonly service: NetworkService; close(): void }>
  close(): Promise<void>
}

const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })
const unix = { connectUnix, listenUnix }

/** Starts authority, registry, nsmgr, a forwarder without wiring and an endpoint of the service `bench`. */
export async function oneProcess(): Promise<OneProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-bench-'))
  const undo: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })]
  const never = new AbortController().signal
  const socket = (name: string): string => `unix://${join(folder, name)}`
  // One process means one caller: identities are handed out in the order in which they are asked for.
  const names: string[] = []
  const authority = await startAuthority({
    trustDomain: 'bench.test',
    socketPath: join(folder, 'agent.sock'),
    listen: listenUnix,
    attest: async () => names.shift() ?? 'spiffe://bench.test/ns/bench/pod/nobody',
  })
  undo.push(() => authority.close())
  const identity = async (name: string): Promise<void> =>
    void names.push(`spiffe://bench.test/ns/bench/pod/${name}`)
  const common = (name: string): Record<string, string> => ({
    NSM_NAME: name,
    SPIFFE_ENDPOINT_SOCKET: socket('agent.sock'),
    NSM_OPS_LISTEN_ON: socket(`${name}.ops`),
    NSM_CONNECT_TO: socket('nsmgr.sock'),
  })

  const running = (service: Service): void => void undo.push(() => service.close(AbortSignal.timeout(1_000)))

  await identity('registry')
  const registryEnv = { ...common('registry'), NSM_LISTEN_ON: socket('registry.sock') }
  running(await startRegistry(registryConfig.parse(registryEnv), silent, never))
  await identity('nsmgr')
  const listenOn = `${socket('nsmgr.sock')},tcp://127.0.0.1:0`
  const managerEnv = {
    ...common('nsmgr'),
    NSM_LISTEN_ON: listenOn,
    NSM_REGISTRY_URL: socket('registry.sock'),
  }
  running(await startManager(managerConfig.parse(managerEnv), silent, never))
  await identity('forwarder')
  undo.push(await forwarderWithoutWiring(socket))

  await identity('endpoint')
  const pool = { NSM_BASE_DIR: folder, NSM_SERVICE_NAMES: 'bench', NSM_CIDR_PREFIX: '172.16.0.0/16' }
  running(
    await startIcmpResponder(icmpResponderConfig.parse({ ...common('endpoint'), ...pool }), silent, never),
  )

  return {
    async client(name) {
      await identity(name)
      return clientOf(name, socket)
    },
    async close() {
      for (const step of undo.toReversed()) await step()
    },
  }
}

async function clientOf(
  name: string,
  socket: (name: string) => string,
): Promise<{ service: NetworkService; close(): void }> {
  const session = await sessions(socket)
  const service = clientChain({
    name,
    dial: session.dialled.dial,
    url: socket('nsmgr.sock'),
    authorize: true,
  })
  return {
    service,
    close() {
      service.stop()
      session.close()
    },
  }
}

interface Sessions {
  readonly source: X509Source
  readonly dialled: Dialer
  close(): void
}

async function sessions(socket: (name: string) => string): Promise<Sessions> {
  const source = await openIdentity(socket('agent.sock'), silent, new AbortController().signal)
  const dialled = dialer({ source, tokens, unix, dialTimeoutMs: 5_000, log: silent })
  return {
    source,
    dialled,
    close() {
      dialled.close()
      source.close()
    },
  }
}

/** The forwarder's chain less the elements that touch the kernel. */
async function forwarderWithoutWiring(socket: (name: string) => string): Promise<() => Promise<void>> {
  const session = await sessions(socket)
  const { source, dialled } = session
  const url = socket('nsmgr.sock')
  const lookups = lookupRegistries({ dial: dialled.dial, url, descriptors: native })
  const client = clientChain({ name: 'forwarder', dial: dialled.dial })
  const server = serverChain({
    name: 'forwarder',
    tokens,
    elements: [
      recvFdServer({ native }),
      sendFdServer(native),
      discover(lookups),
      roundRobin(),
      connectTo(client),
    ],
  })
  const listening = await startServer({
    listenOn: [socket('forwarder.sock')],
    source,
    unix,
    log: silent,
    services: { networkService: server.service, monitor: server.monitor },
  })
  const watches = new AbortController()
  const own = registryClient({ dial: dialled.dial, url, signal: watches.signal, descriptors: native })
  await own.networkServiceEndpoints.register(
    background(),
    NetworkServiceEndpoint.fromPartial({
      name: 'forwarder',
      networkServiceNames: ['forwarder'],
      networkServiceLabels: { forwarder: { labels: { p2p: 'true' } } },
      url: socket('forwarder.sock'),
    }),
  )
  return async () => {
    watches.abort()
    client.stop()
    server.close()
    lookups.close()
    await listening.close(1_000)
    session.close()
  }
}
