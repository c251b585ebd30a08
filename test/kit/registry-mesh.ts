import { NetworkService } from '@nsm/api/gen/registry.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { registryNsmgr, type NsmgrRegistries } from '@nsm/sdk/chains/registry-nsmgr.js'
import { registryServer, type RegistryServerOptions } from '@nsm/sdk/chains/registry-server.js'
import { remoteRegistries } from '@nsm/sdk/chains/remote-registries.js'
import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { silent } from '@nsm/sdk/log.js'
import { networkServiceEndpointKind, networkServiceKind } from '@nsm/sdk/registry/kind.js'
import { memoryRegistry } from '@nsm/sdk/registry/memory.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { dialer, type Dialer } from '@nsm/sdk/transport/client.js'
import { startServer, type RunningServer } from '@nsm/sdk/transport/server.js'
import type { Test } from 'tap'
import { testAuthority, type TestAuthority, type TestSource } from './identity.ts'

const honest = tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock })

/** A program with an identity of its own, over loopback TCP and mutual TLS; gone with the test. */
export interface Program {
  readonly id: string
  readonly source: TestSource
  readonly dialer: Dialer
  serve(registries: Registries, options?: { listenOn?: string; clock?: Clock }): Promise<RunningServer>
}

export function program(t: Test, ca: TestAuthority, path: string, tokens: TokenGenerator = honest): Program {
  const source = ca.source(path)
  const mine = dialer({ source, tokens, dialTimeoutMs: 5000 })
  t.teardown(() => mine.close())
  return {
    id: `spiffe://${ca.trustDomain}${path}`,
    source,
    dialer: mine,
    async serve(registries, { listenOn = 'tcp://127.0.0.1:0', clock = systemClock } = {}) {
      const server = await startServer({
        listenOn: [listenOn],
        source,
        services: registries,
        log: silent,
        clock,
      })
      t.teardown(() => server.close(0))
      return server
    },
  }
}

/** A registry and an nsmgr in front of it. */
export interface RegistryMesh {
  readonly ca: TestAuthority
  readonly registryUrl: string
  readonly nsmgrUrl: string
  readonly nsmgr: NsmgrRegistries
  /** The store itself, without any check. */
  readonly stores: Registries
  /** A client of the nsmgr, or of `url`, with its own identity. */
  client(path: string, url?: string): Registries
  /** The same without retries, refreshes and checks of answers. */
  plain(path: string): Registries
  /** Stops the registry's server and starts one with an empty store at the same address. */
  restartRegistry(): Promise<void>
}

export interface RegistryMeshOptions extends Partial<RegistryServerOptions> {
  /** Time as the nsmgr sees it. */
  readonly nsmgrClock?: Clock
}

export async function registryMesh(
  t: Test,
  { nsmgrClock = systemClock, ...options }: RegistryMeshOptions = {},
): Promise<RegistryMesh> {
  const ca = await testAuthority('k8s.nsm')
  const registry = program(t, ca, '/ns/nsm-system/pod/registry')
  let stores = newStores()
  let server = await registry.serve(registryServer({ tokens: honest, stores, ...options }))
  const registryUrl = server.urls[0] ?? ''

  const manager = program(t, ca, '/ns/nsm-system/pod/nsmgr')
  const nsmgr = registryNsmgr({
    tokens: honest,
    dial: manager.dialer.dial,
    registryUrl,
    publicUrl: 'tcp://192.0.2.1:5001',
    clientInfo: { nodeName: 'node-1' },
  })
  const nsmgrUrl = (await manager.serve(nsmgr.served, { clock: nsmgrClock })).urls[0] ?? ''

  const life = new AbortController()
  t.teardown(() => life.abort())
  return {
    ca,
    registryUrl,
    nsmgrUrl,
    nsmgr,
    get stores() {
      return stores
    },
    client(path, url = nsmgrUrl) {
      const { dial } = program(t, ca, path).dialer
      return registryClient({ dial, url, signal: life.signal, retry: { pauseMs: 20 } })
    },
    plain: (path) => remoteRegistries({ dial: program(t, ca, path).dialer.dial, url: nsmgrUrl }),
    async restartRegistry() {
      await server.close(0)
      stores = newStores()
      server = await registry.serve(registryServer({ tokens: honest, stores, ...options }), {
        listenOn: registryUrl,
      })
    },
  }
}

export function newStores(): Registries {
  return {
    networkServices: memoryRegistry(networkServiceKind),
    networkServiceEndpoints: memoryRegistry(networkServiceEndpointKind),
  }
}

export function service(name: string, more: Partial<NetworkService> = {}): NetworkService {
  return NetworkService.fromPartial({ name, ...more })
}
