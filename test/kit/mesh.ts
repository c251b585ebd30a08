import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { clientChain, type ClientChain, type ClientChainOptions } from '@nsm/sdk/chains/client.js'
import { serverChain, type ServerChain, type ServerChainOptions } from '@nsm/sdk/chains/server.js'
import type { Element } from '@nsm/sdk/chain.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { connectTo } from '@nsm/sdk/elements/connect-to.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import type { Clock } from '@nsm/sdk/clock.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { X509Svid } from '@nsm/spiffe/svid.js'
import type { Test } from 'tap'
import { testAuthority, type TestAuthority } from './identity.ts'
import { memoryNetwork, type MemoryNetwork } from './memory-dial.ts'

export interface HopOptions extends Partial<Omit<ServerChainOptions, 'name' | 'elements'>> {
  /** Before the client half, or instead of one. */
  readonly elements?: readonly Element[]
  /** In the client half. */
  readonly clientElements?: readonly Element[]
}

/** One process of the mesh. */
export interface Hop extends ServerChain {
  readonly url: string
  readonly svid: X509Svid
  /** The process dies: its calls and streams end, its state is gone. */
  kill(): void
  /** Another process with the same name, url and elements, as after a restart. */
  start(): Hop
}

export interface Mesh {
  readonly ca: TestAuthority
  readonly network: MemoryNetwork
  /** Starts a process at `mem://<name>` that passes everything on to `next`, or serves it itself. */
  hop(name: string, next?: string, options?: HopOptions): Hop
  /** An end client of the process `next`. */
  client(next: string, options?: ClientOptions): ClientChain
  /** The same dialler that a client has. */
  tokens: TokenGenerator
}

export interface ClientOptions extends Partial<ClientChainOptions> {
  readonly svid?: X509Svid
  readonly tokens?: TokenGenerator
}

/** Processes composed of the real chains, in memory, with real tokens; all stopped with the test. */
export async function mesh(t: Test, options: { readonly clock?: Clock } = {}): Promise<Mesh> {
  const ca = await testAuthority('k8s.nsm')
  const network = memoryNetwork()
  const tokens = tokenGenerator({ maxLifetimeMs: 600_000, clock: options.clock ?? systemClock })

  function hop(name: string, next?: string, hopOptions: HopOptions = {}): Hop {
    const { elements = [], clientElements = [], ...server } = hopOptions
    const svid = ca.svid(`/ns/nsm-system/pod/${name}`)
    const url = `mem://${name}`
    const clientHalf =
      next === undefined
        ? undefined
        : clientChain({
            name,
            dial: network.dial(svid, tokens),
            url: `mem://${next}`,
            elements: clientElements,
          })
    const served = serverChain({
      name,
      tokens,
      ...server,
      elements: [...elements, ...(clientHalf === undefined ? [] : [connectTo(clientHalf)])],
    })
    const gone = network.listen(url, { svid, service: served.service, monitor: served.monitor })
    const kill = (): void => {
      gone()
      served.close()
      clientHalf?.stop()
    }
    t.teardown(kill)
    return { ...served, url, svid, kill, start: () => hop(name, next, hopOptions) }
  }

  return {
    ca,
    network,
    hop,
    tokens,
    client(next, { svid = ca.svid('/ns/a/pod/client'), tokens: own = tokens, ...client } = {}) {
      const chain = clientChain({
        name: 'client',
        dial: network.dial(svid, own),
        url: `mem://${next}`,
        ...client,
      })
      t.teardown(() => chain.stop())
      return chain
    },
  }
}

/** A first request as an end client sends it, its own segment on the path. */
export function ask(id = 'client-0', conn: Partial<Connection> = {}): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({
    connection: {
      id,
      networkService: 'web',
      ...conn,
      path: { index: 0, pathSegments: [{ name: 'client', id }] },
    },
  })
}

/** A context that gives up after `ms`, so that nothing hangs. */
export function within(ms = 5_000, clock: Clock = systemClock): Ctx {
  return { ...background({ clock, signal: AbortSignal.timeout(ms) }), deadlineMs: clock.now() + ms }
}
